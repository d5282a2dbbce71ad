"""The tiles that a IIIF service lists, and their addresses: Image API 2.1 and 3.0, sections 4 and 5. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.formats.tile_sets import MOST_TILE_EDGE, TileSet
from pipeline.urls import parse

VERSIONS = (2, 3)


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles that together are a IIIF image at its full size.

    Parameters
    ----------
    base: the image's address, without a slash at its end.
    version: of the Image API.
    tiles: the sizes.
    """

    base: str
    version: int
    tiles: TileSet

    def url(self, number: int) -> str:
        """Return the canonical address of a tile: for these, servers have files or caches."""
        x, y, width, height = self.tiles.place(number)
        size = f"{width},{height}" if self.version > VERSIONS[0] else f"{width},"
        return parse(f"{self.base}/{x},{y},{width},{height}/{size}/0/default.jpg").href

    @property
    def digest(self) -> str:
        """A text that is the same for the same tiles at the same place, and names no other."""
        return hashlib.sha256(repr((self.base, self.version, tuple(self.tiles))).encode()).hexdigest()


def tiling(base: str, version: int, found: Mapping[str, Any], most: tuple[int, int, int]) -> Tiling | None:
    """Return the largest listed tiles that are not reduced and that the server sends; None if it lists none.

    Parameters
    ----------
    base: the image's address.
    found: its info.json.
    most: width, height and area of the largest image that the server sends in one request; 0 for no limit.
    """
    width, height = _number(found, "width"), _number(found, "height")
    listed = found.get("tiles")
    if version not in VERSIONS or not (width and height) or not isinstance(listed, list):
        return None
    sets = []
    for one in listed:
        factors = one.get("scaleFactors") if isinstance(one, dict) else None
        if not isinstance(factors, list) or 1 not in factors:
            continue
        tile_width = _number(one, "width")
        tile = TileSet(width, height, tile_width, _number(one, "height") or tile_width)
        if tile_width and max(tile.tile_width, tile.tile_height) <= MOST_TILE_EDGE and _is_sent(tile, most):
            sets.append(tile)
    if not sets:
        return None
    return Tiling(base.rstrip("/"), version, max(sets, key=lambda one: one.tile_width * one.tile_height))


def _is_sent(tile: TileSet, most: tuple[int, int, int]) -> bool:
    width, height = min(tile.tile_width, tile.width), min(tile.tile_height, tile.height)
    return all(size <= limit for size, limit in zip((width, height, width * height), most, strict=True) if limit)


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else 0
