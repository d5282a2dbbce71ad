"""PNG, GIF, BMP, PNM and TGA by Pillow; interlaced PNG by libvips."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image, PngImagePlugin

from bench.writers.file import HEIGHT, WIDTH, File
from tests.support.images import makers
from tests.support.images.pictures import Pixels, scene
from tests.support.images.stretched import stretched


def files() -> Iterator[File]:
    """Yield all files of these formats."""
    yield from _pngs()
    yield from _interlaced()
    yield from _gifs()
    yield from _others()


def image_of(mode: str, colours: int = 64) -> Image.Image:
    """Return a scene in one of Pillow's modes."""
    pixels = scene(WIDTH, HEIGHT, bands={"LA": 2, "RGBA": 4, "CMYK": 4}.get(mode, 3))
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(pixels[..., 0].astype(np.float32) * 120 - 60)
    if mode == "CMYK":
        return Image.frombytes("CMYK", (WIDTH, HEIGHT), pixels.tobytes())
    image = Image.fromarray(pixels)
    return image.quantize(colours) if mode == "P" else image.convert(mode)


def seen_by_pillow(path: Path) -> Pixels:
    """Return the pixels of the first page as Pillow decodes them, stretched where their range is not stated."""
    with Image.open(path) as image:
        if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
            values = np.asarray(image)[..., None]
            if image.mode.startswith("I;16"):
                values = values.astype(np.uint16)
            if (clear := image.info.get("transparency")) is not None:
                values = np.concatenate([values, np.where(values == clear, 0, 65535).astype(np.uint16)], axis=2)
            return stretched(values)
        if image.mode == "CMYK":
            return makers.ink_on_paper(np.asarray(image), makers.cmyk_profile())
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _pngs() -> Iterator[File]:
    transparent: dict[str, Any] = {"1": 0, "L": 200, "I;16": 257 * 100, "RGB": (0, 0, 8), "P": 3}
    for mode, level, bits, has_colour, gamma in itertools.product(
        ("1", "L", "LA", "I;16", "RGB", "RGBA", "P"),
        (0, 1, 9),
        (1, 2, 4, 8),
        (False, True),
        (None, 45455, 100000, 55556),
    ):
        if (bits != 8 and mode != "P") or (has_colour and mode not in transparent) or (gamma and mode == "I;16"):
            continue
        options = [f"{mode}, level {level}", f"{bits} bits" * (mode == "P"), "tRNS" * has_colour]
        options += [f"gAMA {gamma}" if gamma else ""]

        write = partial(
            _write_png,
            mode=mode,
            level=level,
            bits=bits,
            gamma=gamma,
            transparency=transparent[mode] if has_colour else None,
        )

        def expect(path: Path, gamma: int | None = gamma) -> Pixels:
            return _in_srgb(seen_by_pillow(path), gamma)

        near = 1.0 if mode == "I;16" or gamma not in {None, 45455} else 0.0
        yield File("PNG", ", ".join(filter(None, options)), "png", write, expect, near, near)


def _write_png(path: Path, *, mode: str, level: int, bits: int, gamma: int | None, transparency: Any) -> None:
    chunks = PngImagePlugin.PngInfo()
    if gamma:
        chunks.add(b"gAMA", struct.pack(">I", gamma))
    more: dict[str, Any] = {"bits": bits} if mode == "P" else {}
    if transparency is not None:
        more["transparency"] = transparency % (1 << bits) if mode == "P" else transparency
    image_of(mode, 1 << bits).save(path, compress_level=level, pnginfo=chunks, **more)


def _in_srgb(pixels: Pixels, gamma: int | None) -> Pixels:
    if gamma in {None, 45455}:
        return pixels
    light = (pixels[..., :3] / 255.0) ** (100000 / (gamma or 1))
    levels = np.rint(signals_of(light)).astype(np.uint8)
    return np.concatenate([levels, pixels[..., 3:]], axis=2)


def signals_of(light: Any) -> Any:
    """Return levels of 0 to 255 of linear light (IEC 61966-2-1)."""
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _interlaced() -> Iterator[File]:
    for bands, wide, palette in itertools.product((1, 2, 3, 4), (False, True), (False, True)):
        if palette and (wide or bands < 3):
            continue

        def write(path: Path, bands: int = bands, wide: bool = wide, palette: bool = palette) -> None:
            pixels = scene(WIDTH, HEIGHT, bands=bands)
            name = ("grey16" if wide else "b-w") if bands < 3 else "rgb16" if wide else "srgb"
            image = pyvips.Image.new_from_array(pixels.astype(np.uint16) * 257 if wide else pixels)
            image.copy(interpretation=name).pngsave(str(path), interlace=True, palette=palette)

        def expect(path: Path, wide: bool = wide, bands: int = bands) -> Pixels:
            if wide:  # Pillow reads no 16-bit colours
                return stretched(scene(WIDTH, HEIGHT, bands=bands).astype(np.uint16) * 257)
            return seen_by_pillow(path)

        words = f"interlaced, {bands} bands" + ", 16 bits" * wide + ", palette" * palette
        yield File("PNG by libvips", words, "png", write, expect, float(wide), float(wide))


def _gifs() -> Iterator[File]:
    for mode, colours, interlace, optimize, transparency, frames in itertools.product(
        ("1", "L", "P", "RGB"), (2, 16, 256), (0, 1), (False, True), (None, 1), (1, 3)
    ):
        if mode != "P" and (colours != 256 or transparency is not None):
            continue

        write = partial(
            _write_gif,
            mode=mode,
            colours=colours,
            frames=frames,
            interlace=interlace,
            optimize=optimize,
            transparency=transparency,
        )
        words = [f"{mode}", f"{colours} colours" * (mode == "P"), "interlaced" * interlace, "optimized" * optimize]
        words += ["transparency" * (transparency is not None), f"{frames} frames" * (frames > 1)]
        yield File("GIF", ", ".join(filter(None, words)), "gif", write, seen_by_pillow)


def _write_gif(path: Path, *, mode: str, colours: int, frames: int, transparency: int | None, **more: Any) -> None:
    image = image_of(mode, colours)
    more |= {} if transparency is None else {"transparency": transparency}
    if frames > 1:
        more |= {"save_all": True, "append_images": [image.rotate(180)] * (frames - 1)}
    image.save(path, **more)


def _others() -> Iterator[File]:
    table: tuple[tuple[str, str, tuple[str, ...], tuple[dict[str, Any], ...]], ...] = (
        ("BMP", "bmp", ("1", "L", "P", "RGB", "RGBA"), ({}, {"dpi": (300, 300)})),
        ("PNM", "pnm", ("1", "L", "I;16", "RGB"), ({},)),
        ("PNM", "pfm", ("F",), ({},)),
        ("PNM", "ppm", ("1", "L", "RGB"), ({},)),
        ("TGA", "tga", ("1", "L", "LA", "P", "RGB", "RGBA"), ({}, {"compression": "tga_rle"}, {"orientation": 1})),
    )
    for kind, ending, modes, options in table:
        for mode, more in itertools.product(modes, options):

            def write(path: Path, mode: str = mode, more: dict[str, Any] = more) -> None:
                image_of(mode).save(path, **more)

            words = ", ".join((ending, mode, *map(str, more)))
            near = 1.0 if mode in {"I;16", "F"} else 0.0
            yield File(kind, words, ending, write, seen_by_pillow, near, near)
