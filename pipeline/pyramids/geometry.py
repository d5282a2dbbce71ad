"""What a pyramid is: its identity, its levels and its tiles' addresses. Pure arithmetic.

A picture has Deep Zoom levels 0 (one pixel) to ``max_level`` (all pixels), each half the size of the
next, rounded up. XYZ zooms are the same levels under other numbers: zoom 0 is the largest level that
fits one tile. Inner XYZ tiles are the Deep Zoom tiles; those that the picture does not fill ("edge
tiles") are stored apart, padded to the full square.

The position of a tile in the index (pipeline.pyramids.index) is arithmetic, too. First come the Deep Zoom
tiles, level by level from 0, row by row; then the edge tiles, zoom by zoom from 0: the last column from
top to bottom, where the width is no multiple of the tile, then the last row from left to right without
a corner already counted, where the height is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, Protocol

PYRAMID_VERSION = 7
"""Part of every tile_id. Raise it with any change that alters a stored pixel or an address."""

DEFAULT_TILE_SIZE = 256
"""Pixels. What viewers assume where nothing is said (Deep Zoom, slippy maps)."""

DEFAULT_QUALITY = 85
"""Of JPEG and WebP tiles, on libvips' scale of 1 to 100: where a photograph's tiles show no loss at their own size."""

SZI = "pyramid.szi"
EDGES = "edges.bin"
INDEX = "tiles.idx"
THUMBNAIL = "thumbnail.jpg"
DESCRIPTION = "pyramid.json"
FULL = "full.jpg"
FILES = (SZI, EDGES, INDEX, THUMBNAIL, FULL, DESCRIPTION)
"""The files of a build, in the order in which they are stored: the description last."""

CHECKED = (EDGES, INDEX, THUMBNAIL, FULL)
"""Files whose CRC-32 the description holds, in eight hex digits; the SZI has one for each of its tiles."""

PARTS = (SZI, EDGES)
"""File names by an entry's part number."""

THUMBNAIL_EDGE = 512
"""Longest edge of thumbnail.jpg in pixels, at most: twice what a catalogue shows, for screens of double density."""

PREVIEW = "preview.jpg"
"""A file beside those of a build, stored before them where there is one: the picture, small."""

PREVIEW_THUMBNAIL = "preview-thumbnail.jpg"
"""A file beside PREVIEW, stored before it: the same, of THUMBNAIL_EDGE at most."""

PREVIEW_EDGE = 1024
"""Longest edge of preview.jpg in pixels, at most."""

FULL_EDGE = 1024
"""Longest edge in pixels, at most, of full.jpg: the largest level that keeps to it, as one JPEG. For who wants the
whole picture in one file, such as IIIF's full/max: a screenful, in a quarter of a megabyte."""

SMALL_FILE = 8 << 20
"""Bytes of a small file that is read whole: more than a JPEG of 1,024 pixels square can have."""


class Format(StrEnum):
    """A tile's image format; the value is its file extension, the name that of the proto's TileFormat."""

    JPEG = "jpg"
    PNG = "png"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """The Content-Type of such a tile."""
        return f"image/{self.name.lower()}"


_PNG = 2
"""The proto's TILE_FORMAT_PNG: such tiles have no quality."""


class Options(Protocol):
    """What is asked of a pyramid: status_pb2.TileOptions, or anything that looks like it."""

    @property
    def tile_size(self) -> int:
        """Edge of a tile in pixels; 0 stands for DEFAULT_TILE_SIZE."""

    @property
    def format(self) -> int:
        """The tiles' format, a number of the proto's TileFormat; 0 stands for the picture's own: JPEG, or PNG."""

    @property
    def quality(self) -> int:
        """Of JPEG and WebP tiles, 1 to 100; 0 stands for DEFAULT_QUALITY."""

    @property
    def page(self) -> int:
        """Which page of the source, from 0."""


def tile_id(source_sha256: str, options: Options) -> str:
    """Name the pyramid of these bytes and options: 64 lower-case hex digits.

    Parameters
    ----------
    source_sha256: the SHA-256 of the source's bytes, in hex.
    options: what is asked of the pyramid; a default and its explicit value give the same id.
    """
    import hashlib  # noqa: PLC0415  # loads OpenSSL, a tenth of the time in which the tiler's child starts

    identity = {
        "source": source_sha256.lower(),
        "tile_size": options.tile_size or DEFAULT_TILE_SIZE,
        "version": PYRAMID_VERSION,
    }
    # Named only where it is no default, so that an option added later leaves the ids of what has not got it.
    if options.format:
        identity["format"] = options.format
    if options.quality not in {0, DEFAULT_QUALITY} and options.format != _PNG:
        identity["quality"] = options.quality
    if options.page:
        identity["page"] = options.page
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Level(NamedTuple):
    """One level: its size in pixels and in tiles."""

    width: int
    height: int
    columns: int
    rows: int

    @property
    def tile_count(self) -> int:
        """Tiles of this level."""
        return self.columns * self.rows


@dataclass(frozen=True)
class Geometry:
    """Levels and addresses of a picture of `width` x `height` pixels in square tiles of `tile_size`.

    Raises
    ------
    ValueError: where a size is below 1.
    """

    width: int
    height: int
    tile_size: int = DEFAULT_TILE_SIZE

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.tile_size) < 1:
            raise ValueError(f"no pyramid of {self.width} x {self.height} pixels in tiles of {self.tile_size}")

    @cached_property
    def max_level(self) -> int:
        """The level of all pixels: ceil(log2(max(width, height)))."""
        return (max(self.width, self.height) - 1).bit_length()

    @cached_property
    def max_zoom(self) -> int:
        """The XYZ zoom of all pixels: max(0, ceil(log2(max(width, height) / tile_size)))."""
        return (-(-max(self.width, self.height) // self.tile_size) - 1).bit_length()

    @cached_property
    def full_level(self) -> int:
        """The level that full.jpg shows: the largest whose edges are at most FULL_EDGE."""
        return min(self.max_level, FULL_EDGE.bit_length() - 1)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """All levels, 0 first."""
        return tuple(self._make_level(self.max_level - number) for number in range(self.max_level + 1))

    @cached_property
    def tile_count(self) -> int:
        """Deep Zoom tiles over all levels."""
        return self._first_tiles[-1]

    @cached_property
    def edge_count(self) -> int:
        """XYZ edge tiles over all zooms."""
        return self._first_edges[-1]

    def level(self, number: int) -> Level:
        """Give level `number`, 0 to max_level.

        Raises
        ------
        IndexError: for any other number.
        """
        if not 0 <= number <= self.max_level:
            raise IndexError(f"no level {number}")
        return self.levels[number]

    def level_of_zoom(self, zoom: int) -> int:
        """Give the number of the level that holds XYZ zoom `zoom`, 0 to max_zoom.

        Raises
        ------
        IndexError: for any other zoom.
        """
        if not 0 <= zoom <= self.max_zoom:
            raise IndexError(f"no zoom {zoom}")
        return self.max_level - self.max_zoom + zoom

    def deep_zoom_position(self, level: int, x: int, y: int) -> int:
        """Give the index entry of the tile in column x and row y of a level.

        Raises
        ------
        IndexError: where there is no such tile.
        """
        size = self.level(level)
        self._require_inside(size, x, y)
        return self._first_tiles[level] + y * size.columns + x

    def edge_position(self, zoom: int, x: int, y: int) -> int | None:
        """Give the index entry of an XYZ edge tile; None for an inner tile, which is the Deep Zoom tile.

        Raises
        ------
        IndexError: where there is no such tile.
        """
        size = self.levels[self.level_of_zoom(zoom)]
        self._require_inside(size, x, y)
        ragged_right = size.width % self.tile_size != 0
        ragged_bottom = size.height % self.tile_size != 0
        first = self.tile_count + self._first_edges[zoom]
        if ragged_right and x == size.columns - 1:
            return first + y
        if ragged_bottom and y == size.rows - 1:
            return first + (size.rows if ragged_right else 0) + x
        return None

    def xyz_position(self, zoom: int, x: int, y: int) -> int:
        """Give the index entry of any XYZ tile.

        Raises
        ------
        IndexError: where there is no such tile.
        """
        edge = self.edge_position(zoom, x, y)
        return self.deep_zoom_position(self.level_of_zoom(zoom), x, y) if edge is None else edge

    def edges(self) -> Iterable[tuple[int, int, int]]:
        """Give (zoom, x, y) of every XYZ edge tile, in the order of the index."""
        for zoom in range(self.max_zoom + 1):
            size = self.levels[self.level_of_zoom(zoom)]
            columns = size.columns
            if size.width % self.tile_size:
                columns -= 1
                yield from ((zoom, columns, y) for y in range(size.rows))
            if size.height % self.tile_size:
                yield from ((zoom, x, size.rows - 1) for x in range(columns))

    @cached_property
    def _first_tiles(self) -> tuple[int, ...]:
        return tuple(accumulate((level.tile_count for level in self.levels), initial=0))

    @cached_property
    def _first_edges(self) -> tuple[int, ...]:
        counts = (self._edges_of(self.levels[self.level_of_zoom(zoom)]) for zoom in range(self.max_zoom + 1))
        return tuple(accumulate(counts, initial=0))

    def _edges_of(self, size: Level) -> int:
        ragged_right = size.width % self.tile_size != 0
        ragged_bottom = size.height % self.tile_size != 0
        return ragged_right * size.rows + ragged_bottom * (size.columns - ragged_right)

    def _make_level(self, halvings: int) -> Level:
        width = -(-self.width >> halvings)
        height = -(-self.height >> halvings)
        return Level(width, height, -(-width // self.tile_size), -(-height // self.tile_size))

    @staticmethod
    def _require_inside(size: Level, x: int, y: int) -> None:
        if not (0 <= x < size.columns and 0 <= y < size.rows):
            raise IndexError(f"no tile {x}, {y} in {size.columns} x {size.rows}")
