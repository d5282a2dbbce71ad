"""TIFFs whose samples libvips does not read: of 64 bits, complex, of bits that fill no bytes, CIELAB of 8 bits."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageCms

from tests.support.images import pictures, tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

LZW: dict[str, Any] = {"compression": 5, "encode": imagecodecs.lzw_encode}
DEFLATE: dict[str, Any] = {"compression": 8, "encode": zlib.compress}
"""Options of tiffs.write."""


def packed(path: Path, width: int, height: int, *, bits: int, bands: int = 1, **options: Any) -> Pixels:
    """Samples of so many bits, one directly behind the other; 0 and the greatest are black and white."""
    most = (1 << bits) - 1
    values = np.rint(pictures.scene(width, height, bands=bands) * (most / 255)).astype(
        np.uint8 if bits < 8 else np.uint32
    )
    tiffs.write(path, values, bits=bits, **options)
    levels: Pixels = np.rint(values.astype(float) * (255 / most)).astype(np.uint8)
    return np.repeat(levels, 3, axis=2) if bands == 1 else levels


def jpeg(path: Path, width: int, height: int, *, bands: int = 1, **options: Any) -> Pixels:
    """JPEG of 12 bits, as imagecodecs reads it; RGB is stored as YCbCr with coarse colours."""
    values = pictures.scene(width, height, bands=bands).astype(np.uint16) * 16
    tifffile.imwrite(
        path,
        values[..., 0] if bands == 1 else values,
        compression="jpeg",
        compressionargs={"level": 95},
        photometric="rgb" if bands == 3 else "minisblack",
        metadata=None,
        **options,
    )
    stored = tifffile.imread(path).reshape(height, width, bands)
    levels: Pixels = np.rint(stored * (255 / 4095)).astype(np.uint8)
    return np.repeat(levels, 3, axis=2) if bands == 1 else levels


def waves(path: Path, width: int, height: int, *, dtype: str, **options: Any) -> Pixels:
    """Complex numbers, as radar has them: their magnitude is shown."""
    angles = np.linspace(0, 40, width * height).reshape(height, width)
    values = (pictures.scene(width, height, bands=1)[..., 0] * np.exp(1j * angles) * 3).astype(dtype)
    tifffile.imwrite(path, values, photometric="minisblack", metadata=None, **options)
    return stretched(np.abs(values)[..., None])


def whole_waves(path: Path, width: int, height: int) -> Pixels:
    """Complex integers of twice 16 bits, as ERS and Envisat have them (GDAL's CInt16)."""
    angles = np.linspace(0, 40, width * height).reshape(height, width)
    waves = pictures.scene(width, height, bands=1)[..., 0] * np.exp(1j * angles) * 90
    parts = np.stack([waves.real, waves.imag], axis=-1).astype(np.int16)
    one = {258: ("H", [32]), 277: ("H", [1]), 339: ("H", [5])}
    tiffs.write(path, parts, photometric=tiffs.BLACK_IS_ZERO, more=one)
    return stretched(np.hypot(parts[..., 0].astype(float), parts[..., 1])[..., None])


def counts(path: Path, width: int, height: int, *, dtype: str, bands: int = 1, **options: Any) -> Pixels:
    """Samples of 64 bits."""
    values = (
        pictures.scene(width, height, bands=bands).astype(float) * 3e9 - (60e9 if "u" not in dtype else 0)
    ).astype(dtype)
    zstd_tiffs.save(path, values, **options)
    return stretched(values)


def lab(path: Path, width: int, height: int, *, photometric: str = "cielab", **options: Any) -> Pixels:
    """CIELAB of 8 bits, made by Little CMS."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    stored = ImageCms.applyTransform(Image.fromarray(pictures.scene(width, height)), to_lab)
    samples = np.asarray(stored) ^ np.array([0, 128, 128] if photometric == "icclab" else [0] * 3, np.uint8)
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None, **options)
    return srgb_of(np.asarray(stored))


D50 = (0.96422, 1.0, 0.82521)
"""The white of ICC profiles, as CIE XYZ."""

FROM_XYZ = ((3.1338561, -1.6168667, -0.4906146), (-0.9787684, 1.9161415, 0.0334540), (0.0719453, -0.2289914, 1.4052427))
"""CIE XYZ for D50 to linear sRGB, adapted by Bradford's matrix (Lindbloom)."""


def srgb_of(stored: Pixels) -> Pixels:
    """CIELAB of 8 bits as sRGB."""
    return srgb_of_lab(np.concatenate([stored[..., :1] / 2.55, stored[..., 1:].astype(np.int8)], axis=-1))


def srgb_of_lab(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    """L*, a* and b* as sRGB, by the formulas of the CIE and of IEC 61966-2-1."""
    lightness, red_green, yellow_blue = (values[..., band] for band in range(3))
    middle = (lightness + 16) / 116
    cubes = np.stack([middle + red_green / 500, middle, middle - yellow_blue / 200], axis=-1)
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * D50
    linear = np.clip(xyz @ np.transpose(FROM_XYZ), 0, 1)
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: Pixels = np.rint(shown * 255).astype(np.uint8)
    return found
