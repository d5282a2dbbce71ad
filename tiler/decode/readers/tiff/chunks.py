"""Decode the pixels of a TIFF's page: tiles keep their size, strips are cut to another height, planes are joined."""

from __future__ import annotations

import struct
from array import array
from typing import BinaryIO, Protocol

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.checks import require_listed
from pipeline.formats.tiff.layout import LIBRARY, STRIP_BYTES, Compression, Layout
from pipeline.formats.tiff.samples import is_unpacked
from tiler.decode.readers.tiff.frame import Frame
from tiler.decode.readers.tiff.jpeg12_frame import Jpeg12Frame
from tiler.decode.readers.tiff.jpeg_frame import JpegFrame
from tiler.decode.readers.tiff.libtiff_frame import LibtiffFrame

REVERSED = 2
"""Value of Tag.FILL_ORDER."""

FLOATING = 3
"""Value of Tag.PREDICTOR that splits samples into their bytes (Adobe's TIFF Technical Note 3)."""


class Chunks(Protocol):
    """Strips or tiles, numbered row by row as in a TIFF.

    Attributes
    ----------
    rows: height of each in pixels; the last strip may have fewer rows.
    sizes: decoded bytes of each.
    """

    rows: int
    sizes: array[int]

    def read(self, number: int) -> bytes:
        """Return the decoded bytes of a strip or tile; raises as Frame.read."""


def chunks_of(directory: Directory, layout: Layout, file: BinaryIO, *, in_strips: bool = False) -> Chunks:
    """Return the strips or tiles of a page.

    Parameters
    ----------
    directory: of the page.
    layout: of the page. Samples of separate planes have whole bytes.
    file: the directory's own file, or the same file opened again. It must stay open while pixels are read.

    in_strips: whether to return strips even of tiles.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: if the file ends within the directory's values.
    """
    stored = _Stored(directory, layout, file)
    if layout.tiled and in_strips:
        return TileRows(stored, layout)
    # A predictor stores differences between samples of one plane. They stay valid when planes are interleaved.
    compressed = directory.value(Tag.COMPRESSION, Compression.NONE) != Compression.NONE
    unit = 1 if compressed and directory.value(Tag.PREDICTOR, 1) == FLOATING else layout.bits // 8
    return Tiles(stored, layout, unit) if layout.tiled else Strips(stored, layout, unit)


class Tiles:
    """Tiles as the file has them, read in any order."""

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
        if self._stored.is_jpeg:
            return self._stored.jpeg(number).read(self._size)
        return self._stored.open(number, self._size).read(self._size)


class TileRows:
    """Strips of the rows of all tiles beside each other, with their padding. Separate planes do not occur.

    Read them from top to bottom: going back decodes a row of tiles again.
    """

    def __init__(self, stored: _Stored, layout: Layout) -> None:
        self._tiles = Tiles(stored, layout, 1)
        self._layout = layout
        self._across = -(-layout.width // layout.columns)
        row_bytes = self._across * layout.row_bytes
        most = max(1, STRIP_BYTES // row_bytes)
        self.rows = next(rows for rows in range(min(most, layout.rows), 0, -1) if layout.rows % rows == 0)
        down = -(-layout.height // self.rows)
        last = layout.height - (down - 1) * self.rows
        self.sizes = array("Q", [self.rows * row_bytes]) * (down - 1) + array("Q", [last * row_bytes])
        self._held: tuple[int, list[bytes]] = (-1, [])

    def read(self, number: int) -> bytes:
        down, within = divmod(number * self.rows, self._layout.rows)
        if self._held[0] != down:
            self._held = (-1, [])
            tiles = range(down * self._across, (down + 1) * self._across)
            self._held = (down, [self._tiles.read(tile) for tile in tiles])
        size, rows = self._layout.row_bytes, min(self.rows, self._layout.height - number * self.rows)
        places = [slice(row * size, (row + 1) * size) for row in range(within, within + rows)]
        return b"".join(tile[place] for place in places for tile in self._held[1])


class Strips:
    """Strips of about STRIP_BYTES each, whatever the height of the file's strips.

    Read them from top to bottom: going back decodes the file's strip from its beginning.
    """

    def __init__(self, stored: _Stored, layout: Layout, unit: int) -> None:
        row_bytes = layout.row_bytes * layout.planes
        self.rows = min(layout.height, max(1, STRIP_BYTES // row_bytes))
        down = -(-layout.height // self.rows)
        last = layout.height - (down - 1) * self.rows
        self.sizes = array("Q", [self.rows * row_bytes]) * (down - 1) + array("Q", [last * row_bytes])
        self._stored = stored
        self._layout = layout
        self._unit = unit
        self._open: dict[int, tuple[int, Frame | LibtiffFrame]] = {}

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
        """Return some rows of one of the file's strips, which stays open until its last row is read."""
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
    """Interleave the bytes of planes of the same size, `unit` bytes of each in turn."""
    if len(planes) == 1:
        return planes[0]
    data = bytearray(len(planes) * len(planes[0]))
    for number, plane in enumerate(planes):
        for byte in range(unit):
            data[number * unit + byte :: len(planes) * unit] = plane[byte::unit]
    return bytes(data)


class _Stored:
    """The places and lengths of the file's strips or tiles."""

    def __init__(self, directory: Directory, layout: Layout, file: BinaryIO) -> None:
        self._offsets, self.lengths = directory.listed()
        self._file = file
        self._compression = directory.value(Tag.COMPRESSION, Compression.NONE)
        is_jpeg = self._compression == Compression.JPEG
        self._is_of_12_bits = is_jpeg and is_unpacked(directory)
        self.is_jpeg = is_jpeg and not self._is_of_12_bits
        self._page, self._layout = directory, layout
        tables = directory.entries.get(Tag.JPEG_TABLES) if is_jpeg else None
        self._tables = directory.raw(tables)[: tables.length] if tables else b""
        if tables and len(self._tables) < tables.length:
            raise struct.error("the file ends within an entry's values")
        self._reverse = directory.value(Tag.FILL_ORDER, 1) == REVERSED
        require_listed(self._offsets, self.lengths, layout)
        del self.lengths[layout.chunks :]

    def open(self, number: int, size: int, most: int | None = None) -> Frame | LibtiffFrame:
        place = self._file, self._offsets[number], self.lengths[number]
        rows, fill_order = size // self._layout.row_bytes, REVERSED if self._reverse else 1
        if self._is_of_12_bits:
            return Jpeg12Frame(
                *place,
                rows=rows,
                fill_order=fill_order,
                directory=self._page,
                layout=self._layout,
                tables=self._tables,
            )
        if self._compression in LIBRARY:
            return LibtiffFrame(
                *place,
                compression=self._compression,
                row_bytes=self._layout.row_bytes,
                rows=rows,
                fill_order=fill_order,
            )
        return Frame(
            *place,
            compression=self._compression,
            size=size,
            most=most or size,
            reverse=self._reverse,
        )

    def jpeg(self, number: int) -> JpegFrame:
        return JpegFrame(self._file, self._offsets[number], self.lengths[number], self._tables)
