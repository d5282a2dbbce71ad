"""The decoded pixels of a page of a TIFF: its tiles as they are, its strips cut anew, its planes joined."""

from __future__ import annotations

from array import array
from typing import BinaryIO, Protocol

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff_layout import STRIP_BYTES, Compression, Layout
from tiler.decode.readers.tiff.frame import Frame

REVERSED = 2
"""Value of Tag.FILL_ORDER."""

FLOATING = 3
"""Value of Tag.PREDICTOR that takes samples apart into their bytes (Adobe's TIFF Technical Note 3)."""


class Chunks(Protocol):
    """Strips or tiles, numbered as in a TIFF: row by row.

    Attributes
    ----------
    rows: of each, in pixels; the last strip may have fewer.
    sizes: bytes of each, decoded.
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
    layout: of the page: of planes that lie apart, samples of whole bytes.
    file: the same as the directory's, or opened anew; stays open for as long as pixels are read.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: where the file ends within the directory's values.
    """
    stored = _Stored(directory, layout, file)
    # A predictor's differences are between samples of one plane, and stay so where these lie between others.
    compressed = directory.value(Tag.COMPRESSION, Compression.NONE) != Compression.NONE
    unit = 1 if compressed and directory.value(Tag.PREDICTOR, 1) == FLOATING else layout.bits // 8
    return Tiles(stored, layout, unit) if layout.tiled else Strips(stored, layout, unit)


class Tiles:
    """Tiles as they are, read in any order."""

    def __init__(self, stored: _Stored, layout: Layout, unit: int) -> None:
        self.rows = layout.rows
        self._stored = stored
        self._size = layout.chunk_bytes
        self._unit = unit
        self._of_plane = layout.chunks // layout.planes
        self.sizes = array("Q", [layout.planes * self._size]) * self._of_plane

    def read(self, number: int) -> bytes:
        planes = range(number, len(self._stored.lengths), self._of_plane)
        return joined([self._plane(each) for each in planes], self._unit)

    def _plane(self, number: int) -> bytes:
        return self._stored.open(number, self._size).read(self._size)


class Strips:
    """Strips of some STRIP_BYTES each, however the file's own are cut, to be read from top to bottom: going back costs
    decoding from the beginning of the file's strip."""

    def __init__(self, stored: _Stored, layout: Layout, unit: int) -> None:
        row_bytes = layout.row_bytes * layout.planes
        self.rows = min(layout.height, max(1, STRIP_BYTES // row_bytes))
        down = -(-layout.height // self.rows)
        last = layout.height - (down - 1) * self.rows
        self.sizes = array("Q", [self.rows * row_bytes]) * (down - 1) + array("Q", [last * row_bytes])
        self._stored = stored
        self._layout = layout
        self._unit = unit
        self._open: dict[int, tuple[int, Frame]] = {}

    def read(self, number: int) -> bytes:
        top, bottom = number * self.rows, min((number + 1) * self.rows, self._layout.height)
        return joined([self._plane(plane, top, bottom) for plane in range(self._layout.planes)], self._unit)

    def _plane(self, plane: int, row: int, bottom: int) -> bytes:
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


def joined(planes: list[bytes], unit: int) -> bytes:
    """Give the bytes of planes of the same size, `unit` of each in turn."""
    if len(planes) == 1:
        return planes[0]
    data = bytearray(len(planes) * len(planes[0]))
    for number, plane in enumerate(planes):
        for byte in range(unit):
            data[number * unit + byte :: len(planes) * unit] = plane[byte::unit]
    return bytes(data)


class _Stored:
    """Where the file has its strips or tiles."""

    def __init__(self, directory: Directory, layout: Layout, file: BinaryIO) -> None:
        self._offsets = directory.numbers(Tag.TILE_OFFSETS) or directory.numbers(Tag.STRIP_OFFSETS)
        self.lengths = directory.numbers(Tag.TILE_LENGTHS) or directory.numbers(Tag.STRIP_LENGTHS)
        self._file = file
        self._compression = directory.value(Tag.COMPRESSION, Compression.NONE)
        self._reverse = directory.value(Tag.FILL_ORDER, 1) == REVERSED
        found = min(len(self._offsets), len(self.lengths))
        if found < layout.chunks:
            raise damaged(f"its directory names {found:,} strips or tiles of {layout.chunks:,}")
        del self.lengths[layout.chunks :]

    def open(self, number: int, size: int, most: int | None = None) -> Frame:
        return Frame(
            self._file,
            self._offsets[number],
            self.lengths[number],
            compression=self._compression,
            size=size,
            most=most or size,
            reverse=self._reverse,
        )
