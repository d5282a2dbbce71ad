"""AVIFs by Pillow and imagecodecs (libavif and aom), and what libavif makes of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.support.images import pictures, signals
from tests.support.images.pictures import Pixels

FULL, LIMITED = 0x80, 0
"""The last byte of an nclx property."""


def premultiplied(path: Path, width: int, height: int) -> Pixels:
    """Colours multiplied by transparency."""
    return saved(path, pictures.scene(width, height, bands=4), subsampling="4:4:4", alpha_premultiplied=True)


def limited_grey(path: Path, width: int, height: int, *, bands: int = 1) -> Pixels:
    """Grey from 16 to 235, alone or with transparency."""
    return saved(path, grey(width, height, bands=bands), subsampling="4:0:0", range="limited")


def in_space(path: Path, width: int, height: int, *, primaries: int, transfer: int) -> signals.Floats:
    """10 bits of a colour space that the file states by numbers, without loss."""
    samples = pictures.scene(width, height).astype(np.uint16) << 2
    options: dict[str, Any] = {"primaries": primaries, "transfer": transfer, "matrix": 0}
    path.write_bytes(imagecodecs.avif_encode(samples, level=100, bitspersample=10, pixelformat="444", **options))
    return signals.srgb_of(samples << 6, primaries, transfer, 65535)


def saved(path: Path, pixels: Pixels, **options: Any) -> Pixels:
    """Writes pixels, and gives what Pillow's libavif makes of them."""
    Image.fromarray(pixels).save(path, **({"quality": 95} | options))
    return seen(path)


def seen(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def grey(width: int, height: int, *, bands: int) -> Pixels:
    """A grey scene, in four bands if there is transparency."""
    if bands == 1:
        return pictures.scene(width, height, bands=1)[..., 0]
    pixels = pictures.scene(width, height, bands=4)
    return np.concatenate([np.repeat(pixels[..., :1], 3, axis=2), pixels[..., 3:]], axis=2)


def deep_limited_grey(path: Path, width: int, height: int, bits: int) -> Pixels:
    """Grey of 10 or 12 bits; libavif's own pixels, as 16 bits."""
    levels = grey(width, height, bands=1).astype(np.uint16) << (bits - 8)
    data = imagecodecs.avif_encode(levels, level=95, bitspersample=bits, pixelformat="400")
    path.write_bytes(stated(data, full_range=False))
    found = imagecodecs.avif_decode(path.read_bytes())
    levels_16 = np.round(found.reshape(height, width, -1)[..., :1] * (65535 / (2**bits - 1)))
    pixels: Pixels = levels_16.astype(np.uint16).repeat(3, axis=2)
    return pixels


def stated(
    data: bytes | bytearray,
    *,
    primaries: int | None = None,
    transfer: int | None = None,
    full_range: bool | None = None,
) -> bytes:
    """A HEIF whose nclx property says something else than its coded pictures."""
    changed, at = bytearray(data), data.index(b"nclx") + 4
    for value, place in ((primaries, at), (transfer, at + 2)):
        if value is not None:
            struct.pack_into(">H", changed, place, value)
    if full_range is not None:
        changed[at + 6] = FULL if full_range else LIMITED
    return bytes(changed)


def unstated(data: bytes) -> bytes:
    """A HEIF without its nclx property: only its coded pictures say what they are."""
    at = data.index(b"colrnclx")
    return data[:at] + b"free" + data[at + 4 :]
