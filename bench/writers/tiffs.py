"""TIFFs by tifffile with imagecodecs, and by Pillow with libtiff."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from bench.writers.file import HEIGHT, WIDTH, File, NotWritten
from bench.writers.shown import shown
from tests.support.images.pictures import Pixels, scene

COMPRESSIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "LZW": {"compression": "lzw"},
    "deflate": {"compression": "zlib"},
    "deflate, old number": {"compression": "deflate"},
    "PackBits": {"compression": "packbits"},
    "Zstandard": {"compression": "zstd"},
    "LZMA": {"compression": "lzma"},
    "WebP": {"compression": "webp", "compressionargs": {"lossless": True}},
    "JPEG": {"compression": "jpeg", "compressionargs": {"level": 95}},
    "JPEG, 4:4:4": {"compression": "jpeg", "subsampling": (1, 1)},
    "JPEG, 4:2:2": {"compression": "jpeg", "subsampling": (2, 1)},
    "LERC": {"compression": "lerc"},
    "PNG": {"compression": "png"},
    "JPEG 2000": {"compression": "jpeg2000"},
    "JPEG XL": {"compression": "jpegxl"},
    "JPEG XR": {"compression": "jpegxr"},
}
"""Options of tifffile.imwrite."""

PREDICTORS = (None, 2, 3, 34892, 34893, 34894, 34895)
"""None, TIFF 6.0's two, and Adobe's with distances of 2 and 4 samples, for integers and floats."""

CUTS: dict[str, dict[str, Any]] = {
    "one strip": {"rowsperstrip": HEIGHT},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (32, 16)},
    "large tiles": {"tile": (256, 256)},
}

ANY = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16")

COLOURS: tuple[tuple[str, int, tuple[str, ...], dict[str, Any]], ...] = (
    ("grey", 1, ("?", *ANY), {"photometric": "minisblack"}),
    ("grey, white is zero", 1, ("?", "u1", "u2", "u4", "u8", "i2", "f4", "f8"), {"photometric": "miniswhite"}),
    ("grey with alpha", 2, ("u1", "u2"), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    ("RGB", 3, ANY, {"photometric": "rgb"}),
    ("RGB with alpha", 4, ("u1", "u2"), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    ("RGB multiplied by alpha", 4, ("u1", "u2"), {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    ("RGB with two more bands", 5, ("u1", "u2"), {"photometric": "rgb", "extrasamples": ["unspecified"] * 2}),
    ("palette", 1, ("u1",), {"photometric": "palette"}),
    ("CMYK", 4, ("u1", "u2"), {"photometric": "separated"}),
    ("CIELAB", 3, ("u1", "u2"), {"photometric": "cielab"}),
    ("CIELAB as in ICC profiles", 3, ("u1", "u2"), {"photometric": "icclab"}),
)
"""Name, bands, sample types, and options of tifffile.imwrite."""

BITS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 20, 24, 31)

PILLOW_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")

PILLOW_COMPRESSIONS = (
    *("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "tiff_ccitt", "group3", "group4", "jpeg"),
    *("tiff_jpeg", "lzma", "zstd"),
)

FAXES, JPEGS = {"tiff_ccitt", "group3", "group4"}, {"jpeg", "tiff_jpeg"}

JPEG_MODES = {"L", "RGB", "CMYK", "YCbCr"}


def files() -> Iterator[File]:
    """Yield all TIFFs."""
    yield from _by_tifffile()
    yield from _packed()
    yield from _by_pillow()


def _by_tifffile() -> Iterator[File]:
    for name, predictor, cut, (colour, bands, dtypes, look), planar, order, big in itertools.product(
        COMPRESSIONS, PREDICTORS, CUTS, COLOURS, ("contig", "separate"), "<>", (False, True)
    ):
        if (predictor and name in {"none", "JPEG", "WebP"}) or (planar == "separate" and bands == 1):
            continue
        for dtype in dtypes:
            options = COMPRESSIONS[name] | CUTS[cut] | look | {"byteorder": order, "bigtiff": big}
            options |= {"predictor": predictor} if predictor else {}
            options |= {"planarconfig": planar} if bands > 1 else {}
            words = [
                dtype,
                colour,
                cut,
                *(["planes apart"] if planar == "separate" else []),
                "big-endian" * (order == ">"),
            ]
            words += [f"predictor {predictor}" * bool(predictor), "BigTIFF" * big]
            bits = 12 if name.startswith("JPEG") and dtype == "u2" else 0  # as many as such a JPEG has
            yield _file(f"TIFF, {name}", words, bands, dtype, options, bits)


def _packed() -> Iterator[File]:
    for bits, bands, cut, big in itertools.product(BITS, (1, 3), CUTS, (False, True)):
        # tifffile writes packed samples of big-endian files as no reader takes them.
        options = CUTS[cut] | {
            "bitspersample": bits,
            "photometric": "rgb" if bands == 3 else "minisblack",
            "bigtiff": big,
        }
        dtype = "u1" if bits < 8 else "u2" if bits < 16 else "u4"
        words = [f"{bits} bits", "RGB" if bands == 3 else "grey", cut, "BigTIFF" * big]
        yield _file("TIFF, packed bits", words, bands, dtype, options, bits)


def _file(kind: str, words: list[str], bands: int, dtype: str, options: dict[str, Any], bits: int = 0) -> File:
    def write(path: Path) -> None:
        values = _values(bands, dtype, bits)
        if options.get("photometric") == "palette":
            options["colormap"] = _colormap()
        if options.get("planarconfig") == "separate":
            values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
        tifffile.imwrite(path, values[..., 0] if bands == 1 else values, metadata=None, **options)

    lossy = kind.startswith("TIFF, JPEG") and not kind.endswith(("2000", "XL", "XR"))
    near = 8.0 if lossy else 0.0 if dtype in {"?", "u1"} else 1.0
    if options["photometric"] in {"separated", "cielab", "icclab"} or "assocalpha" in options.get("extrasamples", ()):
        near = max(near, 2.0)
    return File(kind, ", ".join(filter(None, words)), "tif", write, shown, near, 1.0 if near else 0.0)


def _values(bands: int, dtype: str, bits: int) -> Any:
    pixels = scene(WIDTH, HEIGHT, bands=min(bands, 4))
    if bands > 4:
        pixels = np.concatenate([pixels, pixels[..., : bands - 4]], axis=2)
    if dtype == "?":
        return pixels // 16 % 2 == 1
    if bits:
        return np.rint(pixels * (((1 << bits) - 1) / 255)).astype(dtype)
    if dtype == "u2":
        return pixels.astype(dtype) * 257
    values = pixels.astype(float) * (0.4 if dtype == "i1" else 1 if dtype == "u1" else 120)
    if dtype.startswith("c"):
        angles = np.linspace(0, 40, values.size).reshape(values.shape)
        return (values * np.exp(1j * angles)).astype(dtype)
    return (values - (60 if dtype[0] in "if" else 0)).astype(dtype)


def _colormap() -> Any:
    ramp = np.arange(256)
    return np.stack([ramp, 255 - ramp, ramp * 7 % 256]).astype(np.uint16) * 257


def _by_pillow() -> Iterator[File]:
    for mode, compression, big in itertools.product(PILLOW_MODES, PILLOW_COMPRESSIONS, (False, True)):
        if (compression in FAXES and mode != "1") or (compression in JPEGS and mode not in JPEG_MODES):
            continue
        lossy = 8.0 if compression in JPEGS else 1.0
        options = f"{mode}, {compression}" + ", BigTIFF" * big

        def write(path: Path, mode: str = mode, compression: str = compression, big: bool = big) -> None:
            _image(mode).save(path, compression=compression, big_tiff=big)

        yield File("TIFF by Pillow", options, "tif", write, _seen_by_pillow, lossy, 1.0)


def _image(mode: str) -> Image.Image:
    pixels = scene(WIDTH, HEIGHT, bands={"LA": 2, "RGBA": 4, "CMYK": 4}.get(mode, 3))
    match mode:
        case "I;16":
            return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        case "I":
            return Image.fromarray(pixels[..., 0].astype(np.int32) * 120 - 60)
        case "F":
            return Image.fromarray(pixels[..., 0].astype(np.float32) * 120 - 60)
        case "LA" | "RGBA" | "RGB":
            return Image.fromarray(pixels)
        case "CMYK":
            return Image.frombytes("CMYK", (WIDTH, HEIGHT), pixels.tobytes())
        case "P":
            return Image.fromarray(pixels).quantize(64)
        case "LAB":
            raise NotWritten("CIELAB is written by tifffile")
    return Image.fromarray(pixels).convert(mode)


def _seen_by_pillow(path: Path) -> Pixels:
    from bench.writers.drawings import seen_by_pillow  # noqa: PLC0415  it lists files as well

    return seen_by_pillow(path)
