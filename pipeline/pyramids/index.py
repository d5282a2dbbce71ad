"""Read and write tiles.idx, which says where each tile of a build lies.

A tile is found by its position: see pipeline.pyramids.geometry. The file consists of a header of 16 bytes, and an entry
of 16 bytes for each tile, all little-endian::

    header   magic "TWIX" · version u32 · Deep Zoom tiles u32 · edge tiles u32
    entry    offset u64 · length u32 · part u32 (0 = pyramid.szi, 1 = edges.bin)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pipeline.pyramids.geometry import Geometry

Buffer = bytes | bytearray | memoryview
"""The bytes that an Index reads."""

INDEX_VERSION = 1
"""Version of this file's layout. It is independent of PYRAMID_VERSION, so that pyramids of older releases stay
readable."""

_MAGIC = b"TWIX"
_HEADER = struct.Struct("<4sIII")
_ENTRY = struct.Struct("<QII")


class Entry(NamedTuple):
    """The place of a tile: bytes `offset` to `offset + length` of file PARTS[part]."""

    part: int
    offset: int
    length: int


class Index:
    """Reads entries from the bytes of a tiles.idx, without a copy of the rest.

    Raises
    ------
    ValueError: if the bytes are not a complete index of this version.
    """

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._begin(len(data))

    def __len__(self) -> int:
        return self.tile_count + self.edge_count

    def entry(self, position: int) -> Entry:
        """Return the place of the tile at `position`, which Geometry computes.

        Raises
        ------
        IndexError: if there is no such position.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"no entry {position}")
        offset, length, part = _ENTRY.unpack(self._read(_HEADER.size + position * _ENTRY.size, _ENTRY.size))
        return Entry(part, offset, length)

    def _begin(self, size: int) -> None:
        if size < _HEADER.size:
            raise ValueError("the index is cut short")
        self.tile_count: int
        self.edge_count: int
        magic, version, self.tile_count, self.edge_count = _HEADER.unpack(self._read(0, _HEADER.size))
        if magic != _MAGIC or version != INDEX_VERSION:
            raise ValueError("not an index of this version")
        if size != index_bytes(self.tile_count, self.edge_count):
            raise ValueError("the index is cut short")

    def _read(self, offset: int, length: int) -> Buffer:
        return self._data[offset : offset + length]


def index_bytes(tile_count: int, edge_count: int) -> int:
    """Return the size of a tiles.idx in bytes."""
    return _HEADER.size + (tile_count + edge_count) * _ENTRY.size


class IndexWriter:
    """Fills a tiles.idx in any order. When `missing` is 0, `data` is the complete content of the file.

    Parameters
    ----------
    geometry: of the pyramid.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.missing = self._count = geometry.tile_count + geometry.edge_count
        self.data = bytearray(index_bytes(geometry.tile_count, geometry.edge_count))
        _HEADER.pack_into(self.data, 0, _MAGIC, INDEX_VERSION, geometry.tile_count, geometry.edge_count)

    def put(self, position: int, entry: Entry) -> None:
        """Set the entry at `position`. Each may be set once, and no tile may be empty.

        Raises
        ------
        IndexError: if there is no such position.
        ValueError: if the entry was set before, or its length is 0.
        """
        if not 0 <= position < self._count:
            raise IndexError(f"no entry {position}")
        at = _HEADER.size + position * _ENTRY.size
        if entry.length == 0 or _ENTRY.unpack_from(self.data, at)[1]:
            raise ValueError(f"entry {position} is set twice or empty")
        _ENTRY.pack_into(self.data, at, entry.offset, entry.length, entry.part)
        self.missing -= 1
