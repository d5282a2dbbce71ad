"""JPEG, WebP, AVIF and HEIC by Pillow and pillow-heif; other formats by imagecodecs, which are refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
from PIL import Image, ImageFilter

from bench.writers.drawings import image_of, seen_by_pillow
from bench.writers.file import HEIGHT, WIDTH, File
from tests.support.images.pictures import Pixels, scene


def files() -> Iterator[File]:
    """Yield all files of these formats."""
    yield from _jpegs()
    yield from _webps()
    yield from _avifs()
    yield from _heics()
    yield from _others()


def _jpegs() -> Iterator[File]:
    for mode, quality, subsampling, progressive, restart, optimize in itertools.product(
        ("L", "RGB", "CMYK", "YCbCr"), (30, 95), (0, 1, 2), (False, True), (0, 1), (False, True)
    ):
        more: dict[str, Any] = {"quality": quality, "progressive": progressive, "optimize": optimize}
        more |= {"subsampling": subsampling} if mode != "L" else {}
        more |= {"restart_marker_rows": restart} if restart else {}
        if mode == "L" and subsampling:
            continue

        def write(path: Path, mode: str = mode, more: dict[str, Any] = more) -> None:
            image_of(mode).save(path, **more)

        words = ", ".join((mode, *(f"{name} {value}" for name, value in more.items())))
        near = 3.0 if mode == "CMYK" else 0.0
        yield File("JPEG", words, "jpg", write, seen_by_pillow, near, near / 3)
    for name, encode in (
        ("without loss (process 14)", imagecodecs.ljpeg_encode),
        ("12 bits", lambda pixels: imagecodecs.jpeg8_encode(pixels.astype(np.uint16) * 16, bitspersample=12)),
    ):
        yield _coded("JPEG", name, "jpg", encode, bands=1)


def _webps() -> Iterator[File]:
    for mode, lossless, quality, method, exact, frames in itertools.product(
        ("L", "RGB", "RGBA", "P"), (False, True), (20, 90), (0, 4), (False, True), (1, 2)
    ):
        more: dict[str, Any] = {"lossless": lossless, "quality": quality, "method": method, "exact": exact}
        more |= {"save_all": True, "append_images": [image_of(mode).rotate(180)]} if frames > 1 else {}

        def write(path: Path, mode: str = mode, more: dict[str, Any] = more) -> None:
            image_of(mode).save(path, **more)

        shown = ", ".join(f"{name} {value}" for name, value in more.items() if name != "append_images")
        yield File("WebP", f"{mode}, {shown}", "webp", write, seen_by_pillow)


def _avifs() -> Iterator[File]:
    for mode, quality, subsampling, levels, tiles in itertools.product(
        ("L", "RGB", "RGBA"), (50, 100), ("4:2:0", "4:2:2", "4:4:4", "4:0:0"), ("full", "limited"), (0, 1)
    ):
        more = {"quality": quality, "subsampling": subsampling, "range": levels, "tile_cols": tiles, "speed": 8}

        def write(path: Path, mode: str = mode, more: dict[str, Any] = more) -> None:
            # Decoders of AVIF spread coarse colours differently at edges, so there are none.
            image_of(mode).filter(ImageFilter.GaussianBlur(5)).save(path, **more)

        words = ", ".join((mode, *(f"{name} {value}" for name, value in more.items())))
        yield File("AVIF", words, "avif", write, seen_by_pillow, 4.0 if subsampling == "4:4:4" else 16.0, 1.5)


def _heics() -> Iterator[File]:
    for mode, quality, chroma, levels in itertools.product(
        ("L", "LA", "RGB", "RGBA", "RGB;16", "RGBA;16", "L;16"), (-1, 60), ("420", "422", "444"), (True, False)
    ):

        def write(
            path: Path, mode: str = mode, quality: int = quality, chroma: str = chroma, levels: bool = levels
        ) -> None:
            name = mode.removesuffix(";16")
            pixels = np.asarray(image_of(name))
            if mode.endswith(";16"):
                wide = pixels.astype(np.uint16) * 257
                pillow_heif.encode(mode, (WIDTH, HEIGHT), wide.tobytes(), path, quality=quality, chroma=chroma)
            else:
                pillow_heif.encode(
                    name,
                    (WIDTH, HEIGHT),
                    pixels.tobytes(),
                    path,
                    quality=quality,
                    chroma=chroma,
                    full_range_flag=int(levels),
                )

        words = f"{mode}, quality {quality}, {chroma}" + ", limited range" * (not levels)
        yield File("HEIC", words, "heic", write, _seen_by_libheif, 3.0, 1.0)


def _seen_by_libheif(path: Path) -> Pixels:
    file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    values = np.asarray(file)
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    return np.asarray(Image.fromarray(values).convert("RGBA" if file.has_alpha else "RGB"))


def _others() -> Iterator[File]:
    for kind, ending, encode in (
        ("JPEG 2000", "jp2", imagecodecs.jpeg2k_encode),
        ("JPEG XL", "jxl", imagecodecs.jpegxl_encode),
        ("JPEG XR", "jxr", imagecodecs.jpegxr_encode),
        ("JPEG LS", "jls", imagecodecs.jpegls_encode),
        ("QOI", "qoi", imagecodecs.qoi_encode),
    ):
        yield _coded(kind, "RGB", ending, encode)


def _coded(kind: str, name: str, ending: str, encode: Callable[[Any], Any], bands: int = 3) -> File:
    def write(path: Path) -> None:
        pixels = scene(WIDTH, HEIGHT, bands=bands)
        path.write_bytes(bytes(encode(np.ascontiguousarray(pixels[..., 0] if bands == 1 else pixels))))

    def expect(_: Path) -> Pixels:
        pixels = scene(WIDTH, HEIGHT, bands=bands)
        return np.repeat(pixels, 3, axis=2) if bands == 1 else pixels

    return File(kind, name, ending, write, expect)
