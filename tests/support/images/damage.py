"""A corpus of damaged files: small whole ones of every format, and what is done to them, by a seed."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pyvips
from PIL import Image

from tests.support.images import heics, pictures, zstd_tiffs

WIDTH, HEIGHT = 150, 120

Damage = Callable[[bytes, random.Random], bytes]


def _pixels(bands: int = 3) -> pictures.Pixels:
    return pictures.scene(WIDTH, HEIGHT, bands=bands)


def _by_libvips(suffix: str, *, bands: int = 3, space: str = "srgb", **options: Any) -> bytes:
    image = pyvips.Image.new_from_array(_pixels(bands)).copy(interpretation=space)
    return bytes(image.write_to_buffer(suffix, **options))


def _by_pillow(name: str, **options: Any) -> bytes:
    saved = io.BytesIO()
    Image.fromarray(_pixels()).save(saved, name, **options)
    return saved.getvalue()


def _by_tifffile(**options: Any) -> bytes:
    saved = io.BytesIO()
    zstd_tiffs.save(saved, _pixels(), **options)
    return saved.getvalue()


_WHOLE: dict[str, Callable[[], bytes]] = {
    "baseline.jpg": lambda: _by_libvips(".jpg", Q=85),
    "pillows.jpg": lambda: _by_pillow("JPEG", quality=85),
    "progressive.jpg": lambda: _by_libvips(".jpg", Q=85, interlace=True),
    "restarts.jpg": lambda: _by_pillow("JPEG", quality=85, restart_marker_rows=1),
    "cmyk.jpg": lambda: _by_libvips(".jpg", bands=4, space="cmyk"),
    "plain.png": lambda: _by_libvips(".png"),
    "interlaced.png": lambda: _by_libvips(".png", interlace=True),
    "deep.png": lambda: _by_libvips(".png", bands=4, bitdepth=16),
    "palette.png": lambda: _by_libvips(".png", palette=True),
    "plain.gif": lambda: _by_libvips(".gif"),
    "lossy.webp": lambda: _by_libvips(".webp", Q=80),
    "lossless.webp": lambda: _by_libvips(".webp", bands=4, lossless=True),
    "strips.tif": lambda: _by_libvips(".tif"),
    "tiles.tif": lambda: _by_libvips(".tif", tile=True, tile_width=64, tile_height=64, bigtiff=True),
    "lzw.tif": lambda: _by_libvips(".tif", compression="lzw"),
    "deflate.tif": lambda: _by_libvips(".tif", compression="deflate"),
    "lzw-tiles.tif": lambda: _by_tifffile(tile=(64, 64), compression="lzw"),
    "deflate-tiles.tif": lambda: _by_tifffile(tile=(64, 64), compression="zlib", byteorder=">"),
    "planes-tiles.tif": lambda: _by_tifffile(planar=True, tile=(64, 64), compression="zlib", bigtiff=True),
    "zstd.tif": lambda: _by_tifffile(predictor=2, rowsperstrip=32),
    "zstd-tiles.tif": lambda: _by_tifffile(tile=(64, 64)),
    "jpeg.tif": lambda: _by_libvips(".tif", compression="jpeg"),
    "plain.heic": lambda: heics.encoded(_pixels(), quality=80, chroma=420, matrix_coefficients=6),
    "plain.avif": lambda: _by_libvips(".avif", effort=0),
}

NAMES = tuple(_WHOLE)
"""Of the whole files."""


@cache
def whole(name: str) -> bytes:
    """An undamaged file."""
    return _WHOLE[name]()


def _cut(least: float, most: float) -> Damage:
    return lambda data, chance: data[: int(len(data) * chance.uniform(least, most))]


def _overwrite(length: int, *, noise: bool) -> Damage:
    def damage(data: bytes, chance: random.Random) -> bytes:
        at = chance.randrange(len(data) // 4, max(len(data) // 4 + 1, len(data) - length))
        written = chance.randbytes(length) if noise else bytes(length)
        return data[:at] + written + data[at + length :]

    return damage


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _flip_in_head(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(min(len(data), 200))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _drop(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) // 4, len(data) - 100)
    return data[:at] + data[at + chance.randrange(1, 60) :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) // 4, len(data))
    return data[:at] + chance.randbytes(chance.randrange(1, 60)) + data[at:]


def _double(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) // 2)
    return data[: at + len(data) // 4] + data[at:]


DAMAGES: dict[str, Damage] = {
    "cut early": _cut(0.0, 0.2),
    "cut in the middle": _cut(0.2, 0.9),
    "cut late": _cut(0.9, 0.999),
    "noise": _overwrite(400, noise=True),
    "zeros": _overwrite(400, noise=False),
    "a bit": _flip,
    "a byte of the head": _flip_in_head,
    "a piece lost": _drop,
    "a piece too many": _insert,
    "a piece twice": _double,
}


def corpus(name: str, seed: int, *, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give what was done to a whole file, and what it is then; `rounds` of each kind of damage."""
    chance = random.Random(f"{seed} {name}")  # noqa: S311  # a test's, not a secret's
    for what, damage in DAMAGES.items():
        for _ in range(rounds):
            yield what, damage(whole(name), chance)


def decoded(data: bytes, mode: str) -> pictures.Pixels | None:
    """What Pillow makes of a file: another reader, most of the time with another decoder; None where it refuses."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert(mode))
    except Exception:  # noqa: BLE001  # whatever a damaged file makes it raise
        return None
