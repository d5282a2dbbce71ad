"""XYZ's edge tiles: those that the picture does not fill, padded with background to the full square."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import pyvips

from pipeline.pyramids import Format

MAX_DIFFERENCE = 1.0
"""Most that an edge tile's samples may differ, in the mean, from those of the tile it pads."""

JPEG_QUALITY = 99
"""Of JPEG edge tiles, which are encoded a second time. Its quantizer's steps are 1 and 2, so that what it does to any
picture is within MAX_DIFFERENCE (noise and hard edges of full contrast: 0.8 at most), and need not be looked at."""

SMALL = 256
"""Pixels of a tile below which chance may have its way with a mean, so that it is looked at."""

SMALL_QUALITIES = (99, 100, 98, 97, 95)
"""Of such a tile: the first within MAX_DIFFERENCE is taken, or else the closest."""

WEBP_QUALITY = 95
"""Of WebP edge tiles. Its colours are always halved in resolution: where that is too much, the tile is lossless."""

THIN = 4
"""Times its pixels that a square has at least where a WebP tile is lossless at once: the white beside it takes 7 ms of
encoding, and 1 so. A small file may ask for tens of thousands of such tiles."""

AHEAD = 256
"""Tiles padded before the first of them is written: bounds the memory of a very long edge."""

REMEMBERED = 1 << 16
"""Tiles among which the same one is looked for: 10 MB. Blank edges are the rule among maps and scans, and of a picture
of 1 x 1,000,000 pixels, which may be a file of 2 kB, all 7,819 tiles are edge tiles."""

_WHITE = [255, 255, 255]
_CLEAR = [255, 255, 255, 0]


class Padded(NamedTuple):
    """An edge tile.

    Parameters
    ----------
    like: the number of an earlier tile, from 0, that is the same.
    data: encoded; empty where there is such a tile.
    """

    like: int | None
    data: bytes


def pad_all(tiles: Iterable[bytes], tile_format: Format, tile_size: int) -> Iterator[Padded]:
    """Give each encoded tile padded to `tile_size` pixels square, in the same order, on all cores.

    The same bytes are padded once: what comes of them depends on nothing else.
    """
    numbered = enumerate(tiles)
    first: dict[bytes, int] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(numbered, AHEAD)):
            made: list[int | Future[bytes]] = []
            for number, data in batch:
                digest = hashlib.sha256(data).digest()
                if digest in first:
                    made.append(first[digest])
                    continue
                if len(first) < REMEMBERED:
                    first[digest] = number
                made.append(pool.submit(pad, data, tile_format, tile_size))
            for one in made:
                yield Padded(one, b"") if isinstance(one, int) else Padded(None, one.result())


def pad(data: bytes, tile_format: Format, tile_size: int) -> bytes:
    """Give one encoded tile padded, to the right and below, with white; wholly transparent where it has alpha."""
    tile = decode(data, tile_format)
    background = _CLEAR if tile.hasalpha() else _WHITE
    square = tile.embed(0, 0, tile_size, tile_size, extend="background", background=background)
    # Tiles are many and small, and each has a thread of its own: more threads for one would only cost.
    square = square.copy()
    square.set_type(pyvips.GValue.gint_type, "concurrency", 1)
    if tile_format is Format.PNG:
        return bytes(square.pngsave_buffer(keep="none"))
    if tile_format is Format.WEBP:
        if tile.width * tile.height * THIN <= tile_size**2:
            return _webp(square, lossless=True, effort=1)()
        lossless = _webp(square, lossless=True, effort=0)
        return _closest(tile, tile_format, (_webp(square, lossless=False, effort=1), lossless))
    if tile.width * tile.height >= SMALL:
        return _jpeg(square, JPEG_QUALITY)()
    return _closest(tile, tile_format, [_jpeg(square, quality) for quality in SMALL_QUALITIES])


def decode(data: bytes, tile_format: Format) -> pyvips.Image:
    """Open one of the pyramid's own tiles."""
    match tile_format:
        case Format.PNG:
            return pyvips.Image.pngload_buffer(data)
        case Format.WEBP:
            return pyvips.Image.webpload_buffer(data)
        case Format.JPEG:
            return pyvips.Image.jpegload_buffer(data)


Encoder = Callable[[], bytes]


def _jpeg(square: pyvips.Image, quality: int) -> Encoder:
    return lambda: bytes(square.jpegsave_buffer(Q=quality, keep="none"))


def _webp(square: pyvips.Image, *, lossless: bool, effort: int) -> Encoder:
    # `exact`: colours under full transparency count, too, when the tile is looked at.
    return lambda: bytes(
        square.webpsave_buffer(
            Q=WEBP_QUALITY, lossless=lossless, exact=True, smart_subsample=not lossless, effort=effort, keep="none"
        )
    )


def _closest(tile: pyvips.Image, tile_format: Format, encoders: Iterable[Encoder]) -> bytes:
    """Give the first encoding within MAX_DIFFERENCE, or else the closest."""
    tile = tile.copy_memory()
    closest, least = b"", float("inf")
    for encode in encoders:
        padded = encode()
        inside = decode(padded, tile_format).crop(0, 0, tile.width, tile.height)
        difference = (inside - tile).abs().avg()
        if difference < least:
            closest, least = padded, difference
        if difference <= MAX_DIFFERENCE:
            break
    return closest
