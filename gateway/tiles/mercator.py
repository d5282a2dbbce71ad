"""Tiles of an image in EPSG:3857 whose pixels are those of the world's tile grid, by the grid's numbers. Pure.

The stored tiles are the grid's own: nothing is warped. A coarser level is on the grid only as far as the image's corner
lies at a corner of the grid's tiles there.

Sources: TileJSON 3.0.0, 3.3 and 3.4; OGC Two Dimensional Tile Matrix Set 2.0, D.1 (WebMercatorQuad).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pipeline.georeference import MERCATOR, RADIUS
from pipeline.pyramids import Geometry
from protos.tilewright.status.v1 import status_pb2 as pb

PATH = "mercator"

MOST_ZOOM = 30

_WORLD = 2 * math.pi * RADIUS
_OFF = 0.1
"""Pixels by which an image may lie off the grid, at any of its corners."""


class Grid(NamedTuple):
    """How an image lies on the grid.

    Parameters
    ----------
    zoom: of the full image.
    x, y: of the grid's tile at the image's upper left corner, at that zoom.
    least_zoom: of the coarsest level that is on the grid.
    """

    zoom: int
    x: int
    y: int
    least_zoom: int

    def own_place(self, geometry: Geometry, zoom: int, x: int, y: int) -> tuple[int, int, int]:
        """Return an image's own zoom, x and y of a tile of the grid; raises IndexError if there is none."""
        halvings = self.zoom - zoom
        if not self.least_zoom <= zoom <= self.zoom:
            raise IndexError("no level of the image has this zoom")
        column, row = x - (self.x >> halvings), y - (self.y >> halvings)
        if min(column, row) < 0:
            raise IndexError("outside of the image")
        return geometry.max_zoom - halvings, column, row


def grid_of(said: pb.Pyramid, geometry: Geometry) -> Grid | None:
    """Return how an image lies on the grid; None if it does not."""
    place = said.georeference
    if place.crs != MERCATOR or len(place.transform) != 6 or not place.bounds:
        return None
    across, b, left, d, down, top = place.transform
    if b or d or across <= 0 or down >= 0:
        return None
    tile = geometry.tile_size
    zoom = round(math.log2(_WORLD / (across * tile)))
    if not 0 <= zoom <= MOST_ZOOM:
        return None
    pixel = _WORLD / (tile << zoom)
    x, y = (left + _WORLD / 2) / (pixel * tile), (_WORLD / 2 - top) / (pixel * tile)
    right, bottom = x + across * geometry.width / pixel / tile, y - down * geometry.height / pixel / tile
    column, row = round(x), round(y)
    off = [
        *(x - column, y - row),
        *(right - column - geometry.width / tile, bottom - row - geometry.height / tile),
    ]
    if max(map(abs, off)) * tile > _OFF or min(column, row) < 0 or max(right, bottom) > (1 << zoom) + _OFF / tile:
        return None
    aligned = _trailing_zeros(column | row)
    return Grid(zoom, column, row, zoom - min(aligned, geometry.max_zoom, zoom))


def true_bounds(grid: Grid, said: pb.Pyramid, tiles: str) -> dict[str, Any]:
    """Return the fields of TileJSON that differ from those of an image without a place.

    Parameters
    ----------
    tiles: URL template of a tile by the grid's numbers.
    """
    west, south, east, north = said.georeference.bounds
    return {
        "tiles": [tiles],
        "minzoom": grid.least_zoom,
        "maxzoom": grid.zoom,
        "bounds": [west, south, east, north],
        "center": [(west + east) / 2, (south + north) / 2, grid.least_zoom],
    }


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1 if number else MOST_ZOOM
