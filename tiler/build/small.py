"""Write the two small JPEGs of a build: full.jpg, which is a level joined from its tiles, and its thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyvips

from pipeline.pyramids import DEFAULT_QUALITY, FULL, SZI, THUMBNAIL, THUMBNAIL_EDGE, Format, Geometry, Index
from tiler.build.edges import decode_tile

FULL_QUALITY = 90
"""Quality of full.jpg. Its pixels usually come from JPEG tiles of quality 85; the same quality once more would show."""


def write_small(out: Path, geometry: Geometry, tile_format: Format, index: Index) -> None:
    """Write full.jpg and thumbnail.jpg beside the SZI. If the level is one JPEG tile, full.jpg is a copy of it."""
    number = geometry.full_level
    level = geometry.level(number)
    with (out / SZI).open("rb") as archive:
        tiles = [
            _read(archive, index, geometry.deep_zoom_position(number, x, y))
            for y in range(level.rows)
            for x in range(level.columns)
        ]
    decoded = _alike([decode_tile(tile, tile_format) for tile in tiles])
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


def _alike(tiles: list[pyvips.Image]) -> list[pyvips.Image]:
    """Give all tiles alpha if one has it: libwebp writes none into a tile that is opaque all over."""
    if not any(tile.hasalpha() for tile in tiles):
        return tiles
    return [tile if tile.hasalpha() else tile.addalpha() for tile in tiles]


def _read(archive: BinaryIO, index: Index, position: int) -> bytes:
    tile = index.entry(position)
    archive.seek(tile.offset)
    return archive.read(tile.length)
