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
from pipeline.formats.tiff.colours import BLACK_IS_ZERO
from pipeline.formats.tiff.layout import DECODED, Compression, Layout, is_coarse, is_jpeg_of_four, layout_of
from tiler.decode.readers.tiff.chunks import Chunks, chunks_of
from tiler.decode.readers.tiff.predictor import Undo, undo_of
from tiler.decode.readers.tiff.virtual_tiff import Entry, VirtualTiff, head, kept, long, long8, short, size_of

BLOCK = 0xFFFF
"""Most bytes of a stored block (RFC 1951, 3.2.4)."""

MADE_ANEW = {Tag.COMPRESSION, Tag.ROWS_PER_STRIP, Tag.FILL_ORDER, Tag.JPEG_TABLES}
"""Tags that say how the real file is compressed and cut; the new one's bits are in normal order."""


OF_SAMPLES = {
    Tag.COLOUR_MAP,
    Tag.EXTRA_SAMPLES,
    Tag.MAX_SAMPLE,
    Tag.MIN_SAMPLE,
    Tag.NODATA,
    Tag.PREDICTOR,
    Tag.BLACK_AND_WHITE,
    Tag.COEFFICIENTS,
    Tag.SAMPLE_FORMAT,
    Tag.SUBSAMPLING,
    Tag.S_MAX_SAMPLE,
    Tag.S_MIN_SAMPLE,
    Tag.TILE_HEIGHT,
    Tag.TILE_WIDTH,
}
"""Tags that describe samples, of which a TIFF of bytes has none."""


class Recoded(VirtualTiff):
    """The new TIFF: its head is in memory, its pixels are decoded when they are read.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file may be closed afterwards.
    as_bytes: whether the new TIFF has one band of bytes instead of the page's samples: each row has the bytes of the
        rows of strips or tiles that lie beside each other, without their predictor. The page has no separate planes.

    Raises
    ------
    StageError: image_corrupt, image_truncated, unsupported_format.
    """

    def __init__(self, path: Path, directory: Directory, *, as_bytes: bool = False) -> None:
        super().__init__()
        self._as_bytes = as_bytes
        self._last = (-1, b"")
        self._undo: Undo | None = None
        try:
            self._open(path, directory)
        except struct.error as error:
            raise StageError("image_truncated", CUT_SHORT) from error

    def _open(self, path: Path, directory: Directory) -> None:
        layout = layout_of(directory)
        if layout is None:
            raise damaged("its directory is inconsistent")
        if not (self._as_bytes or _is_supported(directory, layout)):
            raise StageError("unsupported_format", UNREADABLE)
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._chunks = chunks_of(directory, layout, file, in_strips=self._as_bytes)
        self._step = stored_length(max(self._chunks.sizes))
        if self._as_bytes:
            self._undo = undo_of(directory, layout.row_bytes)
        changed = _of_bytes(directory, layout) if self._as_bytes else {}
        self._head = _head(directory, self._chunks, layout.tiled and not self._as_bytes, self._step, changed)

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
            data = self._chunks.read(number)
            self._last = (number, stored(self._undo(data) if self._undo else data))
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


def _of_bytes(directory: Directory, layout: Layout) -> dict[int, Entry]:
    """Return the entries of a TIFF of bytes that differ from those of the page."""
    order = directory.order
    return {
        Tag.WIDTH: long(-(-layout.width // layout.columns) * layout.row_bytes, order),
        Tag.BITS: short(8, order),
        Tag.SAMPLES: short(1, order),
        Tag.PHOTOMETRIC: short(BLACK_IS_ZERO, order),
    }


def _head(directory: Directory, chunks: Chunks, tiled: bool, step: int, changed: dict[int, Entry]) -> bytes:
    """Return all of the new TIFF that precedes its pixels. Without `changed`, its samples are those of the page."""
    order = directory.order
    entries = kept(directory, MADE_ANEW | OF_SAMPLES if changed else MADE_ANEW) | changed
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
