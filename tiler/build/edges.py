"""Make the edge tiles of the XYZ addresses: tiles that the image does not fill, padded to the full square."""

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
"""Most by which the samples of a padded tile may differ from those of the original tile, on average."""

JPEG_QUALITY = 99
"""Quality of JPEG edge tiles, which are encoded a second time. At 99 the steps of the quantizer are 1 and 2. The
difference stays below MAX_DIFFERENCE for any image (at most 0.8, for noise and hard edges of full contrast), so it need
not be checked."""

SMALL = 256
"""Tiles with fewer pixels are checked: the average difference of a few pixels may exceed MAX_DIFFERENCE by chance."""

SMALL_QUALITIES = (99, 100, 98, 97, 95)
"""Qualities tried for such a tile. The first result within MAX_DIFFERENCE is used, or else the closest."""

WEBP_QUALITY = 95
"""Quality of WebP edge tiles. Lossy WebP always halves the resolution of colours; if the difference is then too large,
the tile is encoded losslessly."""

THIN = 4
"""A WebP tile is encoded losslessly at once if the square has at least this many times its pixels. The white padding
then takes 1 ms to encode instead of 7. A small file may need tens of thousands of such tiles."""

AHEAD = 256
"""Tiles padded before the first of them is written. It limits the memory used for a very long edge."""

REMEMBERED = 1 << 16
"""Tiles remembered to find equal ones; they take 10 MB. Maps and scans often have blank edges. In an image of 1 x
1,000,000 pixels, which may be a file of 2 kB, all 7,819 tiles are edge tiles."""

_WHITE = [255, 255, 255]
_CLEAR = [255, 255, 255, 0]


class Padded(NamedTuple):
    """An edge tile.

    Parameters
    ----------
    like: the number, from 0, of an earlier tile with the same bytes; None if there is none.
    data: the encoded tile; empty if there is an earlier one.
    """

    like: int | None
    data: bytes


def pad_all(tiles: Iterable[bytes], tile_format: Format, tile_size: int) -> Iterator[Padded]:
    """Pad each encoded tile to a square of `tile_size` pixels, on all cores, and yield them in the same order.

    Equal tiles are padded once, since the result depends on the bytes alone.
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
    """Pad one encoded tile on the right and at the bottom: with white, or transparent if it has alpha."""
    tile = decode_tile(data, tile_format)
    background = _CLEAR if tile.hasalpha() else _WHITE
    square = tile.embed(0, 0, tile_size, tile_size, extend="background", background=background)
    # There are many small tiles, each in its own thread: more threads for one tile would only add cost.
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


def decode_tile(data: bytes, tile_format: Format) -> pyvips.Image:
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
    # `exact` keeps colours under full transparency, since the check of the difference compares them.
    return lambda: bytes(
        square.webpsave_buffer(
            Q=WEBP_QUALITY, lossless=lossless, exact=True, smart_subsample=not lossless, effort=effort, keep="none"
        )
    )


def _closest(tile: pyvips.Image, tile_format: Format, encoders: Iterable[Encoder]) -> bytes:
    """Return the first encoding within MAX_DIFFERENCE, or else the closest."""
    tile = tile.copy_memory()
    closest, least = b"", float("inf")
    for encode in encoders:
        padded = encode()
        inside = decode_tile(padded, tile_format).crop(0, 0, tile.width, tile.height)
        difference = (inside - tile).abs().avg()
        if difference < least:
            closest, least = padded, difference
        if difference <= MAX_DIFFERENCE:
            break
    return closest
