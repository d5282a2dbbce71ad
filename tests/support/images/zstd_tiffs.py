"""TIFFs compressed by zstd, by an encoder of its own: Christoph Gohlke's tifffile and imagecodecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile

from tests.support.images import makers, pictures
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

ZSTD = 50000
"""TIFF's number of the compression."""


def compress(data: bytes) -> bytes:
    """One frame."""
    return bytes(imagecodecs.zstd_encode(data))


BY_HAND: dict[str, Any] = {"compression": ZSTD, "encode": compress}
"""Options of tiffs.write."""


def save(path: Path | BinaryIO, pixels: Pixels, *, photometric: str = "", planar: bool = False, **options: Any) -> None:
    """Write pixels (rows, columns, bands).

    Parameters
    ----------
    photometric: by default grey for 1 band, RGB for more.
    planar: each band by itself.
    options: of tifffile.imwrite.
    """
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    options = {"compression": "zstd", "metadata": None, "photometric": photometric or "rgb"} | options
    if pixels.shape[-1] == 1:
        stored = pixels[..., 0]
        options["photometric"] = "minisblack"
    else:
        options["planarconfig"] = "separate" if planar else "contig"
    tifffile.imwrite(path, np.ascontiguousarray(stored), **options)


def scene(path: Path, width: int, height: int, *, bands: int = 3, dtype: type = np.uint8, **options: Any) -> Pixels:
    """Of 8 bits a sample, which must come back, or of 16."""
    pixels = pictures.scene(width, height, bands=bands)
    samples = pixels.astype(dtype) * dtype(257 if dtype is np.uint16 else 1)
    save(path, samples, **options)
    if dtype is np.uint16:
        return stretched(samples)
    return pixels if bands > 2 else np.repeat(pixels, 3, axis=2)


def heights(path: Path, width: int, height: int, **options: Any) -> Pixels:
    """Floats of one band."""
    values = pictures.scene(width, height, bands=1).astype(np.float32) * 3 - 60
    save(path, values, **options)
    return stretched(values)


def inks(path: Path, width: int, height: int, **options: Any) -> Pixels:
    """CMYK with a profile."""
    pixels = pictures.scene(width, height, bands=4)
    save(path, pixels, photometric="separated", iccprofile=makers.cmyk_profile(), **options)
    return makers.ink_on_paper(pixels, makers.cmyk_profile())


def colours(path: Path, width: int, height: int, *, bits: int) -> Pixels:
    """A palette, written by hand."""
    return makers.palette(path, width, height, bits=bits, compression=ZSTD, encode=compress)


def by_hand(path: Path, width: int, height: int, **options: Any) -> Pixels:
    return makers.layout(path, width, height, compression=ZSTD, encode=compress, **options)


def pyramid(path: Path, width: int, height: int, *, below: bool = False, tile: tuple[int, int] = (32, 16)) -> Pixels:
    """A page and two overviews, halved by leaving out every other pixel; below the page, or pages of their own."""
    pixels = pictures.scene(width, height)
    options: dict[str, Any] = {"photometric": "rgb", "compression": "zstd", "tile": tile, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=2 if below else 0, **options)
        for step in (2, 4):
            file.write(pixels[::step, ::step], subfiletype=1, **options)
    return pixels
