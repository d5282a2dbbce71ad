"""Stacks of channels, and a second composition of them, by numpy, of the rule of docs/formats.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from tests.support.images.pictures import Pixels
from tests.support.images.stretched import nearest_rank

HEIGHT, WIDTH = 150, 200

Colour = tuple[int, int, int]

RED, GREEN, BLUE, MAGENTA = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)


def planes(channels: int, z: int = 1, dtype: type = np.uint16, scale: int = 5) -> npt.NDArray[Any]:
    """Samples (z, channel, row, column), dim as a microscope's, and different in each plane."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    made = [
        [(x * (channel + 1) + y * (z_at + 2)) * scale // (channel + 2) + 10 for channel in range(channels)]
        for z_at in range(z)
    ]
    return np.array(made).astype(dtype)


def composed(
    channels: Sequence[npt.NDArray[Any]],
    colours: Sequence[Colour],
    ranges: Sequence[tuple[float, float]] = (),
) -> Pixels:
    """8-bit RGB: each channel from its range, or its percentiles 2 to 98, in its colour; all added up."""
    total = np.zeros((*channels[0].shape, 3))
    for number, samples in enumerate(channels):
        low, high = ranges[number] if ranges else (nearest_rank(samples, 2), nearest_rank(samples, 98))
        level = np.rint(np.clip((samples.astype(float) - low) / (high - low), 0, 1) * 255)
        total += level[..., None] * np.array(colours[number]) / 255
    pixels: Pixels = np.rint(np.clip(total, 0, 255)).astype(np.uint8)
    return pixels


def argb(colour: Colour) -> int:
    """A colour as OME-XML has it: red, green, blue and alpha in a signed integer of 32 bits."""
    value = colour[0] << 24 | colour[1] << 16 | colour[2] << 8 | 255
    return value - (1 << 32) if value >= 1 << 31 else value


def write_ome(
    path: Path, samples: npt.NDArray[Any], names: Sequence[str], colours: Sequence[Colour] = (), **options: Any
) -> Path:
    """Write (z, channel, row, column) as pages of an OME-TIFF."""
    channel: dict[str, Any] = {"Name": list(names)}
    if colours:
        channel["Color"] = [argb(colour) for colour in colours]
    metadata = {"axes": "ZCYX", "Channel": channel, **options.pop("more", {})}
    tifffile.imwrite(path, samples, ome=True, metadata=metadata, **options)
    return path


def write_imagej(path: Path, samples: npt.NDArray[Any], *, is_joined: bool = False, **metadata: Any) -> Path:
    """Write (z, channel, row, column) as a hyperstack of ImageJ.

    is_joined: with one directory for all images, as ImageJ writes what is larger than 4 GB.
    """
    tifffile.imwrite(path, samples, imagej=True, metadata={"axes": "ZCYX", "mode": "composite", **metadata})
    if is_joined:
        with tifffile.TiffFile(path) as file:
            first, order = file.pages.first, file.byteorder
            at = (
                first.offset
                + 2
                + 12 * int.from_bytes(_read(path, first.offset, 2), "little" if order == "<" else "big")
            )
        with path.open("r+b") as raw:
            raw.seek(at)
            raw.write(bytes(4))
    return path


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def describe(path: Path, samples: npt.NDArray[Any], description: str | bytes) -> Path:
    """Write (page, row, column) as pages, the first of which has a description."""
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(samples):
            text = description if number == 0 else None
            file.write(page, photometric="minisblack", description=text, metadata=None)
    return path
