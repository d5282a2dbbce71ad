"""What tells of a pyramid: the Deep Zoom descriptor and the TileJSON for viewers, the seal of pyramid.json. Pure."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

from pipeline.pyramids.geometry import DESCRIPTION, Format, Geometry

MERCATOR_NORTH = math.degrees(math.atan(math.sinh(math.pi)))
"""Degrees of latitude at the upper edge of XYZ's square world, 85.05…"""


def deep_zoom(geometry: Geometry, tile_format: Format) -> str:
    """Give the Deep Zoom descriptor, XML (Microsoft's Deep Zoom schema of 2008)."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="{tile_format}" Overlap="0"'
        f' TileSize="{geometry.tile_size}"><Size Width="{geometry.width}" Height="{geometry.height}"/></Image>\n'
    )


def tilejson(geometry: Geometry, tile_format: Format, tiles: str) -> dict[str, Any]:
    """Give TileJSON 3.0.0; its bounds are the picture's part of the square world: viewers ask for nothing outside.

    Parameters
    ----------
    tiles: the address of a tile, with {z}, {x} and {y}.
    """
    world = geometry.tile_size << geometry.max_zoom
    east = 360 * geometry.width / world - 180
    south = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * geometry.height / world))))
    return {
        "tilejson": "3.0.0",
        "tiles": [tiles],
        "scheme": "xyz",
        "minzoom": 0,
        "maxzoom": geometry.max_zoom,
        "bounds": [-180, south, east, MERCATOR_NORTH],
        "center": [(east - 180) / 2, (south + MERCATOR_NORTH) / 2, 0],
        "tile_size": geometry.tile_size,
        "width": geometry.width,
        "height": geometry.height,
        "format": tile_format.value,
    }


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of a pyramid.json with its own CRC-32 under `crc32`: of all else in it, however it is laid out.

    Parameters
    ----------
    description: with the other files' checksums under `crc32`. A seal that it bears already is not counted.
    """
    sums = {name: checksum for name, checksum in description["crc32"].items() if name != DESCRIPTION}
    plain = dict(description) | {"crc32": sums}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return plain | {"crc32": sums | {DESCRIPTION: f"{zlib.crc32(text.encode()):08x}"}}
