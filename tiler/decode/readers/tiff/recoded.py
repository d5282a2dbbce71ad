"""Present a page that libvips cannot read, or reads wrongly, to libvips as a TIFF that it can read.

Which pages need this is decided by pipeline.formats.tiff.layout.is_recoded. The new TIFF is never written to disk:
libvips reads it through a `pyvips.SourceCustom`, and strips and tiles are decoded when libvips reads them. It is a
BigTIFF with this one page and its tags. Its strips and tiles are deflate's stored blocks (RFC 1951, 3.2.4): their
length is known before the pixels are decoded, and libtiff only has to copy them. A predictor (TIFF 6.0, section 14) is
kept, since libtiff undoes it after deflate in the same way. A predictor restarts at each row, so strips can be cut to
another height; that keeps each of them small. Separate planes are joined.
"""

from __future__ import annotations

import struct
import weakref
import zlib
from array import array
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, UNREADABLE, damaged
from pipeline.formats.tiff import PLACES, Directory, Tag
from pipeline.formats.tiff.layout import DECODED, Compression, Layout, is_coarse, is_jpeg_of_four, layout_of
from tiler.decode.readers.tiff.chunks import Chunks, chunks_of
from tiler.decode.readers.tiff.virtual_tiff import VirtualTiff, head, kept, long, long8, short, size_of

BLOCK = 0xFFFF
"""Most bytes of a stored block (RFC 1951, 3.2.4)."""

MADE_ANEW = {Tag.COMPRESSION, Tag.ROWS_PER_STRIP, Tag.FILL_ORDER, Tag.JPEG_TABLES}
"""Tags that say how the real file is compressed and cut; the new one's bits are in normal order."""


class Recoded(VirtualTiff):
    """The new TIFF: its head is in memory, its pixels are decoded when they are read.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file may be closed afterwards.

    Raises
    ------
    StageError: image_corrupt, image_truncated, unsupported_format.
    """

    def __init__(self, path: Path, directory: Directory) -> None:
        super().__init__()
        self._last = (-1, b"")
        try:
            self._open(path, directory)
        except struct.error as error:
            raise StageError("image_truncated", CUT_SHORT) from error

    def _open(self, path: Path, directory: Directory) -> None:
        layout = layout_of(directory)
        if layout is None:
            raise damaged("its directory is inconsistent")
        if not _is_supported(directory, layout):
            raise StageError("unsupported_format", UNREADABLE)
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._chunks = chunks_of(directory, layout, file)
        self._step = stored_length(max(self._chunks.sizes))
        self._head = _head(directory, self._chunks, layout.tiled, self._step)

    def length(self) -> int:
        """As VirtualTiff.length."""
        return len(self._head) + len(self._chunks.sizes) * self._step

    def piece(self, position: int, size: int) -> bytes:
        """As VirtualTiff.piece; raises as the chunks' `read`."""
        if position < len(self._head):
            return self._head[position : position + size]
        number, within = divmod(position - len(self._head), self._step)
        if number >= len(self._chunks.sizes):
            return b""
        if self._last[0] != number:
            self._last = (-1, b"")
            self._last = (number, stored(self._chunks.read(number)))
        return self._last[1][within : within + size]


def _is_supported(directory: Directory, layout: Layout) -> bool:
    """Return whether the strips or tiles can be decoded here, and their sizes give their decoded length."""
    decoded = directory.value(Tag.COMPRESSION, Compression.NONE) in DECODED or is_jpeg_of_four(directory)
    return decoded and not is_coarse(directory) and (layout.planes == 1 or layout.bits % 8 == 0)


def stored_length(size: int) -> int:
    """Return the length of what `stored` returns for `size` bytes."""
    return 2 + 5 * -(-size // BLOCK) + size + 4


def stored(data: bytes) -> bytes:
    """Wrap bytes, at least one, as a zlib stream (RFC 1950) of stored blocks."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for first in range(0, len(data), BLOCK):
        piece = view[first : first + BLOCK]
        parts.append(struct.pack("<BHH", first + BLOCK >= len(data), len(piece), len(piece) ^ BLOCK))
        parts.append(piece)
    parts.append(struct.pack(">I", zlib.adler32(data)))
    return b"".join(parts)


def _head(directory: Directory, chunks: Chunks, tiled: bool, step: int) -> bytes:
    """Return all of the new TIFF that precedes its pixels."""
    order = directory.order
    entries = kept(directory, MADE_ANEW)
    entries[Tag.PLANAR] = short(1, order)
    entries[Tag.COMPRESSION] = short(Compression.DEFLATE, order)
    if not tiled:
        entries[Tag.ROWS_PER_STRIP] = long(chunks.rows, order)
    offsets, lengths = PLACES[tiled]
    entries[lengths] = long8(array("Q", (stored_length(size) for size in chunks.sizes)), order)
    entries[offsets] = entries[lengths]
    first = size_of(entries)
    entries[offsets] = long8(array("Q", range(first, first + len(chunks.sizes) * step, step)), order)
    return head(entries, order)
