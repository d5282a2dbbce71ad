"""The id of a pyramid, its levels, and the addresses of its tiles. Pure arithmetic.

An image has Deep Zoom levels 0 (one pixel) to ``max_level`` (all pixels), each half the size of the
next, rounded up. XYZ zooms are the same levels with other numbers: zoom 0 is the largest level that
fits into one tile. Inner XYZ tiles are the Deep Zoom tiles. Tiles that the image does not fill ("edge
tiles") are stored separately, padded to the full square.

A tile's position in the index (pipeline.pyramids.index) is computed as well. First come the Deep Zoom
tiles, level by level from 0, row by row. The edge tiles follow, zoom by zoom from 0: if the width is no
multiple of the tile size, the last column from top to bottom; then, if the height is none, the last row
from left to right, without a corner that was already counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple, Protocol

PYRAMID_VERSION = 10
"""Part of every tile_id. Increase it with any change that alters a stored pixel or an address."""

MOST_VERSIONS = 100
"""Versions to look at for the one that a pyramid is of."""

DEFAULT_TILE_SIZE = 256
"""Pixels: the tile size that viewers assume by default (Deep Zoom, slippy maps)."""

DEFAULT_QUALITY = 85
"""Quality of JPEG and WebP tiles, on libvips' scale of 1 to 100: photographs show no loss at their own size."""

SZI = "pyramid.szi"
EDGES = "edges.bin"
INDEX = "tiles.idx"
THUMBNAIL = "thumbnail.jpg"
DESCRIPTION = "pyramid.json"
FULL = "full.jpg"
FILES = (SZI, EDGES, INDEX, THUMBNAIL, FULL, DESCRIPTION)
"""The files of a build, in the order in which they are stored. The description comes last."""

CHECKED = (EDGES, INDEX, THUMBNAIL, FULL)
"""Files whose CRC-32 is in the description, as eight hex digits. The SZI has a CRC-32 for each of its tiles."""

PARTS = (SZI, EDGES)
"""Names of the files that contain tiles, by the part number of an index entry."""

THUMBNAIL_EDGE = 512
"""Most pixels of the longer edge of thumbnail.jpg: twice the size in the catalogue, for screens of double density."""

PREVIEW = "preview.jpg"
"""The preview of the image. If there is one, it is stored beside the files of the build, and before them."""

PREVIEW_THUMBNAIL = "preview-thumbnail.jpg"
"""The thumbnail of the preview, of at most THUMBNAIL_EDGE pixels. It is stored before PREVIEW."""

PREVIEW_EDGE = 1024
"""Most pixels of the longer edge of preview.jpg."""

FULL_EDGE = 1024
"""Most pixels of the longer edge of full.jpg, which is the largest level within this size as one JPEG. It serves
clients that need the whole image in one file, such as IIIF's full/max: a screenful in a quarter of a megabyte."""

SMALL_FILE = 8 << 20
"""Most bytes of a small file that is read as a whole: more than a JPEG of 1,024 x 1,024 pixels can have."""


class Format(StrEnum):
    """A tile's image format. The value is the file extension; the name is that of the proto's TileFormat."""

    JPEG = "jpg"
    PNG = "png"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """The Content-Type of a tile."""
        return f"image/{self.name.lower()}"


_PNG = 2
"""The proto's TILE_FORMAT_PNG. PNG tiles have no quality."""

_ACCEPT = 2
"""The proto's DAMAGE_ACCEPT."""


class Options(Protocol):
    """The requested properties of a pyramid: status_pb2.TileOptions, or an object with the same attributes."""

    @property
    def tile_size(self) -> int:
        """Edge of a tile in pixels; 0 stands for DEFAULT_TILE_SIZE."""

    @property
    def format(self) -> int:
        """The tiles' format, a number of the proto's TileFormat; 0 to choose JPEG or PNG by the source."""

    @property
    def quality(self) -> int:
        """Quality of JPEG and WebP tiles, 1 to 100; 0 stands for DEFAULT_QUALITY."""

    @property
    def page(self) -> int:
        """The page of the source, from 0."""

    def HasField(self, name: Literal["page"], /) -> bool:  # noqa: N802  the proto's name
        """Return whether a page was asked for; otherwise it is the main picture."""

    @property
    def damage(self) -> int:
        """What becomes of a damaged source, a number of the proto's Damage."""

    @property
    def member(self) -> str:
        """Name of the image in an archive; empty for the only one."""

    @property
    def stretch(self) -> str:
        """How samples become 8 bits, as pipeline.stretch writes it; empty for "auto"."""

    @property
    def channels(self) -> Sequence[str]:
        """The channels of a stack to compose: numbers from 0, or names; none for the default."""

    @property
    def all_pages(self) -> bool:
        """Whether each page of the source becomes a pyramid."""


def tile_id(source_sha256: str, options: Options, version: int = 0) -> str:
    """Return the id of the pyramid of a source with these options: 64 lower-case hex digits.

    Parameters
    ----------
    source_sha256: the SHA-256 of the source's bytes, in hex.
    options: of the pyramid. A default and its explicit value result in the same id, except for `page`: which page the
        main picture is, only the file shows.
    version: a PYRAMID_VERSION; 0 for today's.
    """
    identity: dict[str, object] = {
        "source": source_sha256.lower(),
        "tile_size": options.tile_size or DEFAULT_TILE_SIZE,
        "version": version or PYRAMID_VERSION,
    }
    # Defaults are left out, so that a new option does not change existing ids.
    if options.format:
        identity["format"] = options.format
    if options.quality not in {0, DEFAULT_QUALITY} and options.format != _PNG:
        identity["quality"] = options.quality
    if options.HasField("page"):
        identity["page"] = options.page
    if options.damage == _ACCEPT:
        identity["damage"] = options.damage
    if options.member:
        identity["member"] = options.member
    if options.stretch:
        identity["stretch"] = options.stretch
    if options.channels:
        identity["channels"] = list(options.channels)
    if options.all_pages:
        identity["pages"] = "all"
    return _digest(identity)


def page_tile_id(first: str, page: int) -> str:
    """Return the id of a page's pyramid, if all pages of a source are shown.

    Parameters
    ----------
    first: the tile_id of the first page shown, which is that of the options.
    page: the number of a later one in the source.
    """
    return _digest({"first": first, "page": page})


def _digest(identity: Mapping[str, object]) -> str:
    import hashlib  # noqa: PLC0415  # loads OpenSSL, which takes a tenth of the start of the tiler's child

    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def version_of(wanted: str, source_sha256: str, options: Options) -> int:
    """Return the PYRAMID_VERSION of which a pyramid of a source with these options is; 0 if it is of none.

    Parameters
    ----------
    wanted: its tile_id.
    """
    versions = range(PYRAMID_VERSION, max(0, PYRAMID_VERSION - MOST_VERSIONS), -1)
    return next((version for version in versions if tile_id(source_sha256, options, version) == wanted), 0)


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
    """Levels and addresses of an image of `width` x `height` pixels in square tiles of `tile_size`.

    Raises
    ------
    ValueError: if a size is below 1.
    """

    width: int
    height: int
    tile_size: int = DEFAULT_TILE_SIZE

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.tile_size) < 1:
            raise ValueError(f"sizes below 1: {self.width} x {self.height} pixels in tiles of {self.tile_size}")

    @cached_property
    def max_level(self) -> int:
        """The level with all pixels: ceil(log2(max(width, height)))."""
        return (max(self.width, self.height) - 1).bit_length()

    @cached_property
    def max_zoom(self) -> int:
        """The XYZ zoom with all pixels: max(0, ceil(log2(max(width, height) / tile_size)))."""
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
        """Number of Deep Zoom tiles in all levels."""
        return self._first_tiles[-1]

    @cached_property
    def edge_count(self) -> int:
        """Number of XYZ edge tiles in all zooms."""
        return self._first_edges[-1]

    def level(self, number: int) -> Level:
        """Return level `number`, 0 to max_level.

        Raises
        ------
        IndexError: for any other number.
        """
        if not 0 <= number <= self.max_level:
            raise IndexError(f"no level {number}")
        return self.levels[number]

    def level_of_zoom(self, zoom: int) -> int:
        """Return the number of the level for XYZ zoom `zoom`, 0 to max_zoom.

        Raises
        ------
        IndexError: for any other zoom.
        """
        if not 0 <= zoom <= self.max_zoom:
            raise IndexError(f"no zoom {zoom}")
        return self.max_level - self.max_zoom + zoom

    def deep_zoom_position(self, level: int, x: int, y: int) -> int:
        """Return the index position of the tile in column x and row y of a level.

        Raises
        ------
        IndexError: if there is no such tile.
        """
        size = self.level(level)
        self._require_inside(size, x, y)
        return self._first_tiles[level] + y * size.columns + x

    def edge_position(self, zoom: int, x: int, y: int) -> int | None:
        """Return the index position of an XYZ edge tile; None for an inner tile, which is the Deep Zoom tile.

        Raises
        ------
        IndexError: if there is no such tile.
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
        """Return the index position of any XYZ tile.

        Raises
        ------
        IndexError: if there is no such tile.
        """
        edge = self.edge_position(zoom, x, y)
        return self.deep_zoom_position(self.level_of_zoom(zoom), x, y) if edge is None else edge

    def edges(self) -> Iterable[tuple[int, int, int]]:
        """Yield (zoom, x, y) of every XYZ edge tile, in the order of the index."""
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
