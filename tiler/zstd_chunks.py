"""The decoded pixels of a page compressed by zstd: its tiles as they are, its strips cut anew."""

from __future__ import annotations

from array import array
from typing import BinaryIO, Protocol

from pipeline.errors import StageError
from pipeline.tiff import Directory, Tag
from pipeline.tiff_layout import MAX_SPLIT_PLANES, Layout
from tiler.zstd_frame import Frame

STRIP_BYTES = 1 << 18
"""Of a strip as it is cut anew: what asking for it costs is small beside it."""

REVERSED = 2
"""Value of Tag.FILL_ORDER."""


class Chunks(Protocol):
    """Strips or tiles, numbered as in a TIFF: plane by plane, row by row.

    Attributes
    ----------
    rows: of each, in pixels; the last strip may have fewer.
    sizes: bytes of each, decoded; 0 where there is none.
    """

    rows: int
    sizes: array[int]

    def read(self, number: int) -> bytes:
        """Give one decoded; raises as Frame.read."""


def chunks_of(directory: Directory, layout: Layout, file: BinaryIO) -> Chunks:
    """Give the pixels of a page.

    Parameters
    ----------
    directory: of the page.
    file: the same as the directory's, or opened anew; stays open for as long as pixels are read.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: where the file ends within the directory's values.
    """
    stored = _Stored(directory, layout, file)
    return Tiles(stored, layout) if layout.tiled else Strips(stored, layout)


class Tiles:
    """Tiles as they are, read in any order."""

    def __init__(self, stored: _Stored, layout: Layout) -> None:
        self.rows = layout.rows
        self.sizes = array("Q", (layout.chunk_bytes if length else 0 for length in stored.lengths))
        self._stored = stored
        self._size = layout.chunk_bytes

    def read(self, number: int) -> bytes:
        return self._stored.open(number, self._size).read(self._size)


class Strips:
    """Strips of some STRIP_BYTES each, however the file's own are cut, to be read from top to bottom: going back costs
    decoding from the beginning of the file's strip."""

    def __init__(self, stored: _Stored, layout: Layout) -> None:
        self.rows = layout.rows
        if layout.planes <= MAX_SPLIT_PLANES:
            self.rows = min(layout.height, max(1, STRIP_BYTES // layout.row_bytes))
        self._down = -(-layout.height // self.rows)
        last = layout.height - (self._down - 1) * self.rows
        plane = array("Q", [self.rows * layout.row_bytes]) * (self._down - 1) + array("Q", [last * layout.row_bytes])
        self.sizes = plane * layout.planes
        self._stored = stored
        self._layout = layout
        self._open: dict[int, tuple[int, Frame]] = {}

    def read(self, number: int) -> bytes:
        plane, strip = divmod(number, self._down)
        row, bottom = strip * self.rows, min((strip + 1) * self.rows, self._layout.height)
        data = bytearray()
        while row < bottom:
            end = min(bottom, (row // self._layout.rows + 1) * self._layout.rows)
            data += self._rows(plane, row, end)
            row = end
        return bytes(data)

    def _rows(self, plane: int, row: int, end: int) -> bytes:
        """Give some rows of one of the file's strips, which stays open until its last row is read."""
        above, row_bytes = row // self._layout.rows, self._layout.row_bytes
        first, size = above * self._layout.rows, self._layout.rows * row_bytes
        number = plane * self._layout.down + above
        opened, frame = self._open.pop(plane, (-1, None))
        if frame is None or opened != number or frame.given != (row - first) * row_bytes:
            here = min(size, (self._layout.height - first) * row_bytes)
            frame = self._stored.open(number, here, size)
            frame.skip((row - first) * row_bytes)
        data = frame.read((end - row) * row_bytes)
        if end < min(first + self._layout.rows, self._layout.height):
            self._open[plane] = (number, frame)
        return data


class _Stored:
    """Where the file has its strips or tiles."""

    def __init__(self, directory: Directory, layout: Layout, file: BinaryIO) -> None:
        self._offsets = directory.numbers(Tag.TILE_OFFSETS) or directory.numbers(Tag.STRIP_OFFSETS)
        self.lengths = directory.numbers(Tag.TILE_LENGTHS) or directory.numbers(Tag.STRIP_LENGTHS)
        self._file = file
        self._reverse = directory.value(Tag.FILL_ORDER, 1) == REVERSED
        found = min(len(self._offsets), len(self.lengths))
        if found < layout.chunks:
            raise StageError(
                "image_corrupt",
                f"The image file is damaged (its directory names {found:,} strips or tiles of {layout.chunks:,}).",
            )
        del self.lengths[layout.chunks :]

    def open(self, number: int, size: int, most: int | None = None) -> Frame:
        return Frame(
            self._file,
            self._offsets[number],
            self.lengths[number],
            size=size,
            most=most or size,
            reverse=self._reverse,
        )
