"""The two small pictures of a build, JPEG both: full.jpg, a level joined from its tiles, and of it the thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyvips

from pipeline.pyramids import DEFAULT_QUALITY, FULL, SZI, THUMBNAIL, THUMBNAIL_EDGE, Format, Geometry, Index
from tiler.build.edges import decode

FULL_QUALITY = 90
"""Of a picture that was JPEG already, as a rule: its tiles' own quality (85) twice over would show."""


def write_small(out: Path, geometry: Geometry, tile_format: Format, index: Index) -> None:
    """Write full.jpg and thumbnail.jpg beside the SZI. A full.jpg that is one JPEG tile is that tile."""
    number = geometry.full_level
    level = geometry.level(number)
    with (out / SZI).open("rb") as archive:
        tiles = [
            _read(archive, index, geometry.deep_zoom_position(number, x, y))
            for y in range(level.rows)
            for x in range(level.columns)
        ]
    decoded = [decode(tile, tile_format) for tile in tiles]
    whole = pyvips.Image.arrayjoin(decoded, across=level.columns).crop(0, 0, level.width, level.height)
    if whole.hasalpha():
        whole = whole.flatten(background=255)
    whole = whole.copy_memory()
    if len(tiles) == 1 and tile_format is Format.JPEG:
        (out / FULL).write_bytes(tiles[0])
    else:
        whole.jpegsave(str(out / FULL), Q=FULL_QUALITY, keep="none")
    thumbnail = whole.thumbnail_image(THUMBNAIL_EDGE, height=THUMBNAIL_EDGE, size="down")
    thumbnail.jpegsave(str(out / THUMBNAIL), Q=DEFAULT_QUALITY, keep="none")


def _read(archive: BinaryIO, index: Index, position: int) -> bytes:
    tile = index.entry(position)
    archive.seek(tile.offset)
    return archive.read(tile.length)
