"""Serve everything below /tiles/.

    /tiles/<tile_id>.dzi                              Deep Zoom descriptor
    /tiles/<tile_id>.szi                              all Deep Zoom tiles in one zip file; supports range requests
    /tiles/<tile_id>_files/<level>/<x>_<y>.<ext>      Deep Zoom tile
    /tiles/<tile_id>/<z>/<x>/<y>.<ext>                XYZ tile
    /tiles/<tile_id>/mercator/<z>/<x>/<y>.<ext>       the same tiles by the numbers of the world's grid
    /tiles/<tile_id>/tilejson.json                    TileJSON 3.0
    /tiles/<tile_id>/thumbnail.jpg                    at most 512 pixels

Tiles and descriptors never change: a tile_id identifies one source, its options and one pyramid version.

In place of the tile_id, a dataset's id stands for the pyramid that the dataset shows now. There, an XYZ tile needs no
extension.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from starlette.types import Scope

from gateway.tiles import mercator
from gateway.tiles.dataset_addresses import DATASET_ID
from gateway.tiles.pyramid_app import SHORT, TILE_ID, Found, PyramidApp, fixed, number
from gateway.tiles.pyramid_cache import OpenPyramid
from gateway.tiles.scale import pixel_size_field
from gateway.tiles.streams import Stream
from pipeline.pyramids import SZI, THUMBNAIL, deep_zoom_descriptor, tilejson

TILES_PREFIX = "/tiles/"

_ID = re.compile(rf"(?:{TILE_ID.pattern}|{DATASET_ID.pattern})?")
"""The beginning of a path's first segment. What follows it there is the kind of the path."""


class Tiles(PyramidApp):
    """The ASGI app for Deep Zoom and XYZ."""

    noun = "tile"

    def split(self, path: str) -> tuple[str, list[str]]:
        first, *rest = path.removeprefix(TILES_PREFIX).split("/")
        found = _ID.match(first)
        end = found.end() if found else 0
        return first[:end], [first[end:], *rest]

    async def find(self, pyramid: OpenPyramid, name: str, parts: list[str], scope: Scope) -> Found | Stream | None:
        is_permanent = name != pyramid.tile_id
        geometry = pyramid.geometry
        try:
            match parts:
                case [".dzi"]:
                    return fixed(pyramid, "dzi", "application/xml", deep_zoom_descriptor(geometry, pyramid.format))
                case [".szi"]:
                    return _archive(pyramid, name)
                case ["", "thumbnail.jpg"]:
                    read = pyramid.files.read_file
                    return Found(f"{pyramid.tile_id}-thumbnail", "image/jpeg", lambda: read(THUMBNAIL))
                case ["", "tilejson.json"]:
                    text = json.dumps(self._tilejson(pyramid, name, scope))
                    return fixed(pyramid, "tilejson", "application/json", text, self.address_cache, suffix=None)
                case ["_files", level, file]:
                    x, y = _stem(file, pyramid).split("_")
                    place = number(level), number(x), number(y)
                    return _tile(pyramid, "d", place, geometry.deep_zoom_position(*place))
                case ["", mercator.PATH, zoom, x, file]:
                    grid = mercator.grid_of(self.said_of(pyramid, name), geometry)
                    y = file if is_permanent and "." not in file else _stem(file, pyramid)
                    if grid is None:
                        return None
                    place = grid.own_place(geometry, number(zoom), number(x), number(y))
                    # A client's word may change what lies at the grid's address, so none is immutable.
                    found = _tile(pyramid, "m", place, geometry.xyz_position(*place), None)
                    found.cache_control = SHORT
                    return found
                case ["", zoom, x, y] if is_permanent and "." not in y:
                    place = number(zoom), number(x), number(y)
                    return _tile(pyramid, "x", place, geometry.xyz_position(*place), f".{pyramid.format}")
                case ["", zoom, x, file]:
                    place = number(zoom), number(x), number(_stem(file, pyramid))
                    return _tile(pyramid, "x", place, geometry.xyz_position(*place))
        except (IndexError, ValueError):
            pass
        return None

    def _tilejson(self, pyramid: OpenPyramid, name: str, scope: Scope) -> dict[str, Any]:
        """Return TileJSON. Its bounds are true if the image lies on the world's tile grid."""
        said, geometry = self.said_of(pyramid, name), pyramid.geometry
        extension = "" if name != pyramid.tile_id else f".{pyramid.format}"
        tiles = f"{self.base(scope)}{TILES_PREFIX}{name}"
        address = f"{{z}}/{{x}}/{{y}}{extension}"
        described = tilejson(geometry, pyramid.format, f"{tiles}/{address}") | pixel_size_field(said)
        grid = mercator.grid_of(said, geometry)
        if grid is not None:
            described |= mercator.true_bounds(grid, said, f"{tiles}/{mercator.PATH}/{address}")
        return described


def _tile(
    pyramid: OpenPyramid, kind: str, place: tuple[int, int, int], position: int, suffix: str | None = ""
) -> Found:
    etag = "{}-{}-{}-{}-{}".format(pyramid.tile_id, kind, *place)
    return Found(etag, pyramid.format.media_type, partial(pyramid.files.read, position), suffix=suffix)


def _archive(pyramid: OpenPyramid, name: str) -> Stream:
    # The ETag names the build, because the order of the tiles differs: ranges of two builds must not be combined.
    file = name[:12] if name == pyramid.tile_id else name
    disposition = f'attachment; filename="{file}.szi"'.encode()
    return Stream(
        f"{pyramid.tile_id}-szi-{pyramid.build}",
        "application/zip",
        partial(pyramid.files.size, SZI),
        partial(pyramid.files.stream, SZI),
        headers=[(b"content-disposition", disposition)],
    )


def _stem(file: str, pyramid: OpenPyramid) -> str:
    stem, _, extension = file.partition(".")
    if extension != pyramid.format.value:
        raise ValueError("another format")
    return stem
