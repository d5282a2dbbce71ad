"""Makes test pictures, and says what their pyramids have to hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips
from PIL import Image

Pixels = npt.NDArray[Any]
"""Rows, columns, bands."""


def scene(width: int, height: int, *, bands: int = 3, seed: int = 1) -> Pixels:
    """A picture with slopes, edges and a little noise, 8 bits a sample: no two tiles of it are alike."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x // 13 + y // 7) % 2 * 180, 255 - x % 256]
    noise = np.random.default_rng(seed).integers(0, 24, (height, width, bands))
    return np.clip(np.stack(planes[:bands], axis=-1) + noise, 0, 255).astype(np.uint8)


def noise(width: int, height: int, *, bands: int = 3, seed: int = 1) -> Pixels:
    """The hardest picture to keep: every sample at random."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


def save(pixels: Pixels, path: Path, interpretation: str = "srgb", **options: object) -> Path:
    """Writes pixels by libvips, in the format that the name's ending says."""
    pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation).write_to_file(str(path), **options)
    return path


def jpeg(path: Path, width: int = 700, height: int = 300, **options: object) -> Path:
    """A JPEG of a scene."""
    return save(scene(width, height), path, "srgb", **({"Q": 92} | options))


def decode(data: bytes) -> Pixels:
    """The pixels of an encoded tile, by Pillow: another decoder than the one that made it."""
    return np.asarray(Image.open(io.BytesIO(data)))


def deep_zoom(szi: Path) -> dict[tuple[int, int, int], bytes]:
    """All tiles of an SZI by (level, x, y), by Python's own zip reader."""
    tiles = {}
    with zipfile.ZipFile(szi) as archive:
        for name in archive.namelist():
            *_, level, file = name.split("/")
            if level.isdigit():
                x, y = file.split(".")[0].split("_")
                tiles[int(level), int(x), int(y)] = archive.read(name)
    return tiles


def halve(pixels: Pixels) -> Pixels:
    """Half the size, rounded up, each pixel the mean of four; an odd edge is repeated.

    With alpha as the fourth band: alpha is the sum's quarter, a colour the mean weighted by alpha; both rounded down.
    """
    wide = np.pad(pixels.astype(np.int64), [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
    four = np.stack([wide[0::2, 0::2], wide[0::2, 1::2], wide[1::2, 0::2], wide[1::2, 1::2]])
    if pixels.shape[2] != 4:
        mean: Pixels = ((four.sum(axis=0) + 2) >> 2).astype(np.uint8)
        return mean
    alpha = four[..., 3:]
    weight = alpha.sum(axis=0)
    colour = (four[..., :3] * alpha).sum(axis=0) // np.maximum(weight, 1)
    return np.concatenate([colour, weight // 4], axis=-1).astype(np.uint8)


def levels(pixels: Pixels) -> list[Pixels]:
    """All levels of a picture's pyramid, the one pixel first."""
    found = [pixels]
    while max(found[0].shape[:2]) > 1:
        found.insert(0, halve(found[0]))
    return found


def put_together(tiles: dict[tuple[int, int, int], bytes], level: int, tile_size: int) -> Pixels:
    """A level's pixels, from its tiles by (level, x, y)."""
    mine = {(x, y): decode(data) for (number, x, y), data in tiles.items() if number == level}
    rows = [
        np.concatenate([mine[x, y] for x in range(1 + max(x for x, _ in mine))], axis=1)
        for y in range(1 + max(y for _, y in mine))
    ]
    whole: Pixels = np.concatenate(rows, axis=0)
    assert all(max(tile.shape[:2]) <= tile_size for tile in mine.values())
    return whole
