"""XYZ's edge tiles: those that the picture does not fill, padded with background to the full square."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pyvips

from pipeline.pyramid import Format

QUALITIES = (95, 98, 100)
"""Of JPEG edge tiles, which are encoded a second time: the first that keeps to MAX_DIFFERENCE is taken.
95 does for most photographs; noise, hard edges and slivers of a few pixels need more."""

MAX_DIFFERENCE = 1.0
"""Most that an edge tile's samples may differ, in the mean, from those of the tile it pads."""

AHEAD = 256
"""Tiles padded before the first of them is written: bounds the memory of a very long edge."""

_WHITE = [255, 255, 255]
_CLEAR = [255, 255, 255, 0]


def pad_all(tiles: Iterable[bytes], tile_format: Format, tile_size: int) -> Iterator[bytes]:
    """Give each encoded tile padded to `tile_size` pixels square, in the same order, on all cores."""
    remaining = iter(tiles)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(remaining, AHEAD)):
            yield from pool.map(lambda data: pad(data, tile_format, tile_size), batch)


def pad(data: bytes, tile_format: Format, tile_size: int) -> bytes:
    """Give one encoded tile padded, to the right and below, with white; wholly transparent in a PNG."""
    tile = decode(data, tile_format)
    if tile_format is Format.PNG:
        return bytes(_square(tile, tile_size, _CLEAR).pngsave_buffer(keep="none"))
    square = _square(tile, tile_size, _WHITE)
    closest, least = b"", float("inf")
    for quality in QUALITIES:
        padded = bytes(square.jpegsave_buffer(Q=quality, keep="none"))
        again = pyvips.Image.jpegload_buffer(padded, access="sequential")
        difference = (again.crop(0, 0, tile.width, tile.height) - tile).abs().avg()
        if difference < least:
            closest, least = padded, difference
        if difference <= MAX_DIFFERENCE:
            break
    return closest


def decode(data: bytes, tile_format: Format) -> pyvips.Image:
    """Open one of the pyramid's own tiles."""
    if tile_format is Format.PNG:
        return pyvips.Image.pngload_buffer(data)
    return pyvips.Image.jpegload_buffer(data)


def _square(tile: pyvips.Image, tile_size: int, background: list[int]) -> pyvips.Image:
    return tile.embed(0, 0, tile_size, tile_size, extend="background", background=background)
