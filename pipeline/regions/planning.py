"""Choose the level and the tiles from which a region is made. Pure arithmetic."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.pyramids import Geometry

MOST_EDGE = 8192
"""Most pixels of an edge of a result: twice a wide screen of today. WebP allows 16,383 and JPEG 65,500."""


class Region(NamedTuple):
    """A part of the full image, in its pixels, and the size in which it is wanted.

    Parameters
    ----------
    x, y, width, height: the part. It lies within the image and is not empty.
    to_width, to_height: of the result, at least 1 each.
    """

    x: int
    y: int
    width: int
    height: int
    to_width: int
    to_height: int


class Plan(NamedTuple):
    """The tiles that show a region.

    Parameters
    ----------
    level: its number.
    column, row, columns, rows: of the first tile, and how many there are.
    left, top, right, bottom: the region in pixels of the level, counted from the first tile's corner. They are
        fractions if the region begins or ends within a pixel of the level.
    """

    level: int
    column: int
    row: int
    columns: int
    rows: int
    left: float
    top: float
    right: float
    bottom: float


def most_tiles(area: int, tile_size: int) -> int:
    """Return the most tiles from which a result of at most `area` pixels is made.

    An edge of n pixels is made from less than 2 n pixels of the level, which lie in at most 2 n / tile_size + 2 tiles.
    The product for both edges is largest for a result that is as narrow as can be: see MOST_EDGE.
    """
    longer = min(MOST_EDGE, area)
    shorter = max(1, area // longer)
    return (2 * longer // tile_size + 2) * (2 * shorter // tile_size + 2)


def plan(geometry: Geometry, region: Region, most: int) -> Plan:
    """Return the tiles of the smallest level that has at least the pixels of the result.

    If these are more than `most` tiles, which only a distorted result needs, a smaller level is taken.
    """
    halvings = 0
    while halvings < geometry.max_level and _suffices(geometry, region, halvings + 1):
        halvings += 1
    while (found := _tiles(geometry, region, halvings)).columns * found.rows > most and halvings < geometry.max_level:
        halvings += 1
    return found


def _suffices(geometry: Geometry, region: Region, halvings: int) -> bool:
    x, y, width, height, to_width, to_height = region
    return (to_width << halvings <= width or _is_ragged(x, width, to_width, halvings, geometry.width)) and (
        to_height << halvings <= height or _is_ragged(y, height, to_height, halvings, geometry.height)
    )


def _is_ragged(start: int, length: int, to_length: int, halvings: int, image_length: int) -> bool:
    """Return whether a region ends at the image's edge, within the level's last pixel, and has the level's own pixels.

    The sizes of levels are rounded up, and viewers request regions accordingly.
    """
    is_at_edge = start + length == image_length and start % (1 << halvings) == 0
    return is_at_edge and to_length < length and -(-length >> halvings) == to_length


def _tiles(geometry: Geometry, region: Region, halvings: int) -> Plan:
    size = geometry.tile_size
    x, y, width, height, to_width, to_height = region
    column, left, columns, right = _along(x, width, halvings, size)
    row, top, rows, bottom = _along(y, height, halvings, size)
    if _is_ragged(x, width, to_width, halvings, geometry.width):
        right = left + to_width
    if _is_ragged(y, height, to_height, halvings, geometry.height):
        bottom = top + to_height
    return Plan(geometry.max_level - halvings, column, row, columns, rows, left, top, right, bottom)


def _along(start: int, length: int, halvings: int, tile_size: int) -> tuple[int, float, int, float]:
    """Return for one axis: the first tile, where the region begins in it, how many tiles there are, where it ends."""
    scale = 1 << halvings
    first = (start >> halvings) // tile_size
    last = ((start + length - 1) >> halvings) // tile_size
    begin = start / scale - first * tile_size
    end = (start + length) / scale - first * tile_size
    return first, begin, last - first + 1, end
