"""The file in which ingest stores the tiles of a IIIF image, each as it was sent. The tiler joins them.

    8 bytes    MAGIC
    4 u32       width and height of the image, and of a tile, in pixels
    then, for each tile, row by row and from the left:
    u32        length in bytes
               the bytes of a JPEG, PNG or WebP

All numbers are big-endian. The tiles of the last column and row end where the image ends. A stranger may serve such a
file, so nothing in it is trusted. See docs/decisions/0030. Pure functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.signatures import TILE_SET, image_kind

KINDS = frozenset({"jpeg", "png", "webp"})
"""Kinds of image (pipeline.formats.kinds) that a tile may be."""

MOST_TILE_BYTES = 16 << 20
MOST_TILE_EDGE = 4096
"""Most bytes, and pixels of an edge, of a tile. Such a tile takes 48 MiB to decode; common ones have 256 to 1,024."""

MOST_EDGE = (1 << 31) - 1

_SIZES = struct.Struct(">4I")
_LENGTH = struct.Struct(">I")

HEAD_BYTES = len(TILE_SET) + _SIZES.size


class Place(NamedTuple):
    """Where a tile lies in the image, in pixels."""

    x: int
    y: int
    width: int
    height: int


class TileSet(NamedTuple):
    """The sizes of an image and of its tiles, in pixels."""

    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def total(self) -> int:
        return self.columns * -(-self.height // self.tile_height)

    def place(self, number: int) -> Place:
        """Return the place of a tile, counted row by row from 0."""
        row, column = divmod(number, self.columns)
        x, y = column * self.tile_width, row * self.tile_height
        return Place(x, y, min(self.tile_width, self.width - x), min(self.tile_height, self.height - y))

    def head(self) -> bytes:
        """Return the file's first bytes."""
        return TILE_SET + _SIZES.pack(*self)


def entry(data: bytes) -> bytes:
    """Return a tile as it is stored."""
    return _LENGTH.pack(len(data)) + data


def read_head(file: BinaryIO) -> TileSet:
    """Read the sizes, and leave the file at its first tile.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        raise _truncated()
    found = TileSet(*_SIZES.unpack(head[len(TILE_SET) :]))
    edges = (1 <= edge <= MOST_EDGE for edge in found)
    if not all(edges) or max(found.tile_width, found.tile_height) > MOST_TILE_EDGE:
        raise StageError("image_corrupt", "The file of tiles has impossible sizes. Download it again.")
    return found


def read_tiles(file: BinaryIO, found: TileSet) -> Iterator[tuple[Place, bytes]]:
    """Yield the tiles with their places; raises StageError("image_truncated") and StageError("image_corrupt")."""
    for number in range(found.total):
        data = _read_tile(file)
        if data is None:
            raise _truncated()
        yield found.place(number), data


def whole_tiles(file: BinaryIO, found: TileSet) -> tuple[int, int]:
    """Return how many tiles a file has that a download may have left unfinished, and where the last of them ends."""
    count, end = 0, HEAD_BYTES
    try:
        while count < found.total and (data := _read_tile(file)) is not None and image_kind(data[:64]) in KINDS:
            count, end = count + 1, file.tell()
    except StageError:
        pass
    return count, end


def _read_tile(file: BinaryIO) -> bytes | None:
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    (count,) = _LENGTH.unpack(length)
    if count > MOST_TILE_BYTES:
        raise StageError("image_corrupt", "The file of tiles has a tile of an impossible length. Download it again.")
    data = file.read(count)
    return data if len(data) == count else None


def _truncated() -> StageError:
    return StageError("image_truncated", "The file of tiles ends early. Download it again.")
