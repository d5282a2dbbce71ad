"""Damaged files of which a part can be decoded, and the pixels of that part."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from tests.support.images import damaged_tiffs, pictures
from tests.support.images import heifs as heifs_
from tests.support.images.pictures import Pixels

GREY = 128
JPEG = 7

HEIF_EDGE = 160
"""Edge of the tiles of a HEIF."""

JPEG_LOSS = 3
"""Most that two decoders of JPEG may differ."""


class Whole(NamedTuple):
    """A file that is whole, and its pixels by another decoder than the product's, or at least another use of it."""

    data: bytes
    pixels: Pixels


def encoded(pixels: Pixels, name: str, **options: Any) -> bytes:
    """Encode pixels by Pillow."""
    saved = io.BytesIO()
    Image.fromarray(pixels).save(saved, name, **options)
    return saved.getvalue()


def by_pillow(name: str, width: int = 500, height: int = 500, **options: Any) -> Whole:
    """Encode a scene by Pillow."""
    data = encoded(pictures.scene(width, height), name, **options)
    return Whole(data, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def noisy(data: bytes, at: int, length: int = 400, seed: int = 1) -> bytes:
    """Overwrite bytes with noise."""
    return data[:at] + np.random.default_rng(seed).bytes(length) + data[at + length :]


def held_against(found: Pixels, whole: Pixels) -> tuple[float, float]:
    """Compare what is shown, with transparency, with the undamaged pixels.

    Returns
    -------
    The share of pixels that are marked as missing, and the greatest difference of any other pixel.
    """
    is_missing = found[..., 3] == 0
    rest = np.abs(found[..., :3].astype(int) - whole).max(axis=2)[~is_missing]
    return float(is_missing.mean()), float(rest.max(initial=0))


class Case(NamedTuple):
    """A damaged file.

    Parameters
    ----------
    pixels: of the file before it was damaged.
    least, most: share of the pixels that are missing.
    loss: most that a sample of the others may differ.
    """

    name: str
    data: bytes
    pixels: Pixels
    least: float
    most: float
    loss: int = 0
    page: int = 0


def cases() -> Iterator[Case]:
    """Yield damaged files of every format."""
    yield from _jpegs()
    yield from _rows()
    # Half of the TIFFs: tests without a stack have them all.
    yield from islice(tiffs(), 0, None, 3)
    yield from pngs()
    yield from gifs()
    yield from webps()
    yield from islice(heifs(), 0, None, 5)  # plain.heic, alpha.heic, cut.avif


def tiffs() -> Iterator[Case]:
    """Yield TIFFs of every compression, in strips and in tiles: one strip or tile is damaged, or the file is cut."""
    with TemporaryDirectory() as folder:
        for (compression, make), tiled in product(damaged_tiffs.READ.items(), (False, True)):
            whole, path = Path(folder) / "whole.tif", Path(folder) / "damaged.tif"
            pixels = make(whole, tiled)
            loss = 8 if compression == JPEG else 0
            # Of uncompressed pixels, only a length tells.
            for damage, place in (("gone", "first"), ("gone" if compression == 1 else "noise", "middle")):
                path.write_bytes(whole.read_bytes())
                damaged_tiffs.damaged(path, damage, place)
                name = f"{compression}-{tiled}-{damage}-{place}.tif"
                yield Case(name, path.read_bytes(), pixels, 0.14, 0.25, loss)
            cut = whole.read_bytes()[: whole.stat().st_size * 6 // 10]
            yield Case(f"{compression}-{tiled}-cut.tif", cut, pixels, 0.02, 0.6, loss)


def _jpegs() -> Iterator[Case]:
    plain, restarting = by_pillow("JPEG", quality=85), by_pillow("JPEG", quality=85, restart_marker_rows=1)
    half = len(plain.data) // 2
    yield Case("cut.jpg", plain.data[:half], plain.pixels, 0.4, 0.6, JPEG_LOSS)
    yield Case("cut-restarts.jpg", restarting.data[:half], restarting.pixels, 0.4, 0.6, JPEG_LOSS)
    yield Case("noise.jpg", noisy(plain.data, half), plain.pixels, 0.4, 0.8, JPEG_LOSS)
    yield Case("noise-restarts.jpg", noisy(restarting.data, half), restarting.pixels, 0.05, 0.6, JPEG_LOSS)


def _rows() -> Iterator[Case]:
    bmp = by_pillow("BMP")
    yield Case("cut.bmp", bmp.data[: len(bmp.data) * 2 // 3], bmp.pixels, 0.33, 0.34)


def pngs() -> Iterator[Case]:
    """Yield PNGs that are cut, or whose pixels are damaged in the middle. Pillow writes chunks of 64 kB."""
    for bits, pixels in (("8", pictures.noise(300, 500)), ("alpha", pictures.noise(300, 500, bands=4))):
        pixels[..., -1] |= 1  # never wholly transparent
        data = encoded(pixels, "PNG")
        half = len(data) // 2
        shown = pixels[..., :3]
        yield Case(f"cut-{bits}.png", data[:half], shown, 0.4, 0.6)
        yield Case(f"noise-{bits}.png", noisy(data, half), shown, 0.4, 0.7)
        yield Case(f"bit-{bits}.png", noisy(data, half, 1), shown, 0.4, 0.7)


def spoiled_png() -> Whole:
    """Return a PNG whose colour profile has a wrong checksum."""
    pixels = pictures.scene(200, 100)
    data = bytearray(
        encoded(pixels, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    )
    data[data.index(b"iCCP") + 30] ^= 1
    return Whole(bytes(data), pixels)


def gifs() -> Iterator[Case]:
    """Yield GIFs that are cut, or damaged in the middle: a frame alone, and the second of an animation."""
    frames = [Image.fromarray(pictures.scene(300, 500, seed=seed)).quantize(64) for seed in (1, 2)]
    for page in (0, 1):
        saved = io.BytesIO()
        more: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "disposal": 1} if page else {}
        frames[0].save(saved, "GIF", interlace=False, **more)
        data, whole = saved.getvalue(), Image.open(saved)
        whole.seek(page)
        at = len(data) * (3 if page else 1) // (4 if page else 2)
        yield Case(f"cut-{page}.gif", data[:at], np.asarray(whole.convert("RGB")), 0.4, 0.65, page=page)
    # The frame's data says that it ends.
    yield Case("ends.gif", data[: len(data) // 4] + b"\0;", np.asarray(frames[0].convert("RGB")), 0.4, 0.8)


def webps() -> Iterator[Case]:
    """Yield WebPs that are cut: lossy, with transparency, and lossless with a colour profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ways: dict[str, tuple[int, dict[str, Any]]] = {
        "lossy": (3, {}),
        "alpha": (4, {"quality": 90}),
        "lossless": (3, {"lossless": True, "icc_profile": profile}),
    }
    for name, (bands, options) in ways.items():
        pixels = pictures.scene(300, 500, bands=bands)
        pixels[..., -1] |= 1
        data = encoded(pixels, "WEBP", **options)
        shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
        # The transparency comes first, and without it there is no row.
        cut = data[: len(data) * (9 if bands == 4 else 6) // 10]
        yield Case(f"cut-{name}.webp", cut, shown[..., :3], 0.1, 0.9, 3)


def heifs() -> Iterator[Case]:
    """Yield HEICs and AVIFs in four tiles of which one is damaged or cut off; turned, mirrored, and with alpha."""
    pixels = heifs_.grid_pixels(HEIF_EDGE)
    turns: dict[str, tuple[list[bytes], Pixels]] = {
        "plain": ([], pixels),
        "turned": ([heifs_.turn(1)], np.rot90(pixels)),
        "mirrored": ([heifs_.turn(3), heifs_.mirror(0)], heifs_.mirrored(np.rot90(pixels, 3), 0)),
        "mirrored-1": ([heifs_.mirror(1), heifs_.turn(2)], np.rot90(heifs_.mirrored(pixels, 1), 2)),
    }
    for brand in heifs_.CODECS:
        sound = heifs_.grid(brand, edge=HEIF_EDGE)
        noisy_one = [sound[0], sound[1], heifs_.noisy(sound[2], length=40), *sound[3:]]
        for name, (properties, expected) in turns.items():
            top = replace(sound[0], properties=[*sound[0].properties, *properties])
            yield Case(f"{name}.{brand}", heifs_.file_of([top, *noisy_one[1:]], brand), expected, 0.25, 0.25)
        whole = heifs_.file_of(sound, brand)
        yield Case(f"cut.{brand}", whole[: -len(sound[4].data) - len(sound[3].data) // 2], pixels, 0.5, 0.5)
        # Transparency in tiles of which one is damaged
        alpha = [
            replace(item, hidden=True) for item in heifs_.grid(brand, heifs_.noisy, first=7, edge=HEIF_EDGE, least=9)
        ]
        over = heifs_.transparency(replace(alpha[0], number=6), 1)
        yield Case(f"alpha.{brand}", heifs_.file_of([*sound, over, *alpha[1:]], brand), pixels, 0.25, 0.25)
