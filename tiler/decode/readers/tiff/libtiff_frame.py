"""Let libtiff decode one strip or tile on its own, as bytes: for compressions that `frame` does not decode."""

from __future__ import annotations

from array import array
from typing import BinaryIO

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff import NATIVE, Tag
from pipeline.formats.tiff.colours import BLACK_IS_ZERO
from tiler.decode.readers.tiff.virtual_tiff import Entry, head, long, long8, short, size_of

MOST_GROWTH, SPARE = 2, 1 << 16
"""Compressed bytes that are read: so many times the decoded ones, and some more. LZW grows noise by half at most."""


class LibtiffFrame:
    """The decoded bytes of one strip or tile, decoded as a whole at the first read.

    Parameters
    ----------
    file: the caller closes it.
    offset, length: of the compressed bytes.
    compression: one of pipeline.formats.tiff.layout.LIBRARY.
    row_bytes, rows: of the decoded strip or tile.
    fill_order: value of Tag.FILL_ORDER.
    """

    def __init__(
        self, file: BinaryIO, offset: int, length: int, *, compression: int, row_bytes: int, rows: int, fill_order: int
    ) -> None:
        self._file = file
        self._place = offset, length
        self._compression = compression
        self._row_bytes, self._rows = row_bytes, rows
        self._fill_order = fill_order
        self._data: bytes | None = None
        self.given = 0

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        self.given += size

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises
        ------
        StageError: image_truncated, image_corrupt.
        """
        if self._data is None:
            self._data = self._decoded()
        found = self._data[self.given : self.given + size]
        self.given += size
        return found

    def _decoded(self) -> bytes:
        offset, length = self._place
        length = min(length, MOST_GROWTH * self._row_bytes * self._rows + SPARE)
        try:
            self._file.seek(offset)
            stored = self._file.read(length)
        except (OSError, OverflowError, ValueError):  # an offset beyond any file
            stored = b""
        if len(stored) < length:
            raise StageError("image_truncated", CUT_SHORT)
        found = self._decode(self._head(length) + self._prepared(stored))
        if len(found) != self._row_bytes * self._rows:
            raise damaged(f"a strip or tile holds {len(found):,} bytes, not {self._row_bytes * self._rows:,}")
        return found

    def _prepared(self, stored: bytes) -> bytes:
        """Return the compressed bytes as libtiff reads them, of the same length."""
        return stored

    def _decode(self, whole: bytes) -> bytes:
        """Return the samples of a TIFF of one strip; raises StageError."""
        try:
            image = pyvips.Image.tiffload_buffer(whole, fail_on="warning", unlimited=True)
            found: bytes = image.write_to_memory()
        except pyvips.Error as error:
            raise damaged(f"a strip or tile cannot be decoded ({error.detail.strip()})") from error
        return found

    def _head(self, length: int) -> bytes:
        found = self._entries()
        found[Tag.STRIP_LENGTHS] = long8(array("Q", [length]), NATIVE)
        found[Tag.STRIP_OFFSETS] = long8(array("Q", [0]), NATIVE)
        found[Tag.STRIP_OFFSETS] = long8(array("Q", [size_of(found)]), NATIVE)
        return head(found, NATIVE)

    def _entries(self) -> dict[int, Entry]:
        """Return the entries of the TIFF besides those of the strip's place."""
        entries = {
            Tag.WIDTH: long(self._row_bytes, NATIVE),
            Tag.HEIGHT: long(self._rows, NATIVE),
            Tag.BITS: short(8, NATIVE),
            Tag.COMPRESSION: short(self._compression, NATIVE),
            Tag.PHOTOMETRIC: short(BLACK_IS_ZERO, NATIVE),
            Tag.FILL_ORDER: short(self._fill_order, NATIVE),
            Tag.SAMPLES: short(1, NATIVE),
            Tag.ROWS_PER_STRIP: long(self._rows, NATIVE),
        }
        return {int(tag): entry for tag, entry in entries.items()}
