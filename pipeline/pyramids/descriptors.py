"""Describe a pyramid for viewers (Deep Zoom, TileJSON), and add the checksum of pyramid.json. Pure functions."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

from pipeline.pyramids.geometry import DESCRIPTION, Format, Geometry

MERCATOR_NORTH = math.degrees(math.atan(math.sinh(math.pi)))
"""Latitude of the upper edge of XYZ's square world, in degrees: 85.05…"""


def deep_zoom_descriptor(geometry: Geometry, tile_format: Format) -> str:
    """Return the Deep Zoom descriptor, XML of Microsoft's schema of 2008."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="{tile_format}" Overlap="0"'
        f' TileSize="{geometry.tile_size}"><Size Width="{geometry.width}" Height="{geometry.height}"/></Image>\n'
    )


def tilejson(geometry: Geometry, tile_format: Format, tiles: str) -> dict[str, Any]:
    """Return TileJSON 3.0.0. Its bounds are the image's part of the square world, so viewers request no tile outside.

    Parameters
    ----------
    tiles: URL template of a tile, with {z}, {x} and {y}.
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
    """Return the content of a pyramid.json with its own CRC-32 added under `crc32`.

    The checksum covers all other values, and does not depend on the layout of the JSON.

    Parameters
    ----------
    description: has the other files' checksums under `crc32`. An existing checksum of its own is replaced.
    """
    sums = {name: checksum for name, checksum in description["crc32"].items() if name != DESCRIPTION}
    plain = dict(description) | {"crc32": sums}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return plain | {"crc32": sums | {DESCRIPTION: f"{zlib.crc32(text.encode()):08x}"}}
