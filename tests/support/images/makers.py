"""Makers of sources: each writes one of width x height pixels, and gives the upright 8-bit sRGB pixels that it must
become, computed another way than by libvips."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, ImageCms

from tests.support.images import pictures, profiles, tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched


def _scene(width: int, height: int, bands: int = 3) -> Pixels:
    return pictures.scene(width, height, bands=bands)


def _grey(plane: Pixels) -> Pixels:
    return np.repeat(plane[..., :1], 3, axis=2)


def _decoded(path: Path, mode: str = "RGB") -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def by_pillow(
    path: Path, width: int, height: int, *, mode: str = "RGB", shown: str = "RGB", **options: object
) -> Pixels:
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = _scene(width, height, bands)
    image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)
    image.save(path, **options)  # type: ignore[arg-type]  # each format's own
    return _decoded(path, shown)


def by_libvips(path: Path, width: int, height: int, *, bands: int = 3, **options: object) -> Pixels:
    """Lossless formats: what is written must come back."""
    pixels = _scene(width, height, bands)
    pictures.save(pixels, path, "srgb" if bands > 2 else "b-w", **options)
    return pixels if bands > 2 else np.concatenate([_grey(pixels), pixels[..., 1:]], axis=-1)


def few_colours(path: Path, width: int, height: int, *, bits: int, **options: object) -> Pixels:
    image = Image.fromarray(_scene(width, height)).quantize(2**bits, dither=Image.Dither.NONE)
    image.save(path, **({"bits": bits} if path.suffix == ".png" else {}), **options)  # type: ignore[arg-type]
    return _decoded(path, "RGBA" if "transparency" in options else "RGB")


def bits(path: Path, width: int, height: int, *, bits: int, **options: object) -> Pixels:
    """Grey of less than 8 bits: its levels are spread evenly over 0 to 255."""
    spread = (_scene(width, height, 1).astype(int) >> (8 - bits)) * 255 // (2**bits - 1)
    pictures.save(spread.astype(np.uint8), path, "b-w", bitdepth=bits, **options)
    return _grey(spread.astype(np.uint8))


def wide(path: Path, width: int, height: int, *, bands: int, **options: object) -> Pixels:
    """16 bits whose range nothing states."""
    pixels = _scene(width, height, bands)
    low = np.random.default_rng(7).integers(0, 256, pixels.shape, dtype=np.uint16)
    samples: Pixels = (pixels.astype(np.uint16) << 8) | low
    pictures.save(samples, path, "rgb16" if bands > 2 else "grey16", **options)
    return stretched(samples)


def transparent_colour(path: Path, width: int, height: int, *, mode: str) -> Pixels:
    pixels = _scene(width, height, 3 if mode == "RGB" else 1)
    seen = pixels[height // 2, width // 2]
    chosen: object = tuple(map(int, seen)) if mode == "RGB" else int(seen[0])
    image = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])
    image.save(path, transparency=chosen)
    return _decoded(path, "RGBA")


def with_profile(path: Path, width: int, height: int, *, primaries: profiles.Primaries, gamma: float) -> Pixels:
    pixels = _scene(width, height)
    profile = profiles.rgb_profile(primaries, gamma)
    Image.fromarray(pixels).save(path, icc_profile=profile, quality=100)
    return profiles.srgb_of(_decoded(path), primaries, gamma)


def with_grey_profile(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 1)
    Image.fromarray(pixels[..., 0]).save(path, icc_profile=profiles.grey_profile(1.5))
    return profiles.srgb_of(_grey(pixels), profiles.SRGB, 1.5)


def with_srgb_profile(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(path, icc_profile=profile)
    return pixels


def ink_on_paper(inks: Pixels, profile: bytes) -> Pixels:
    """CMYK as sRGB by Pillow's littlecms: relative colorimetric, black point compensated."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        "CMYK",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    shown = ImageCms.applyTransform(Image.fromarray(inks, mode="CMYK"), transform)
    assert shown is not None
    return np.asarray(shown)


def cmyk_profile() -> bytes:
    """The profile that libvips takes where CMYK has none."""
    found: bytes = pyvips.Operation.call("profile_load", "cmyk")
    return found


def inks(path: Path, width: int, height: int, *, with_profile: bool = False, **options: object) -> Pixels:
    inks = _scene(width, height, 4)
    image = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk")
    if with_profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", cmyk_profile())
    image.write_to_file(str(path), **options)
    if path.suffix == ".jpg":
        # Adobe's way is to store CMYK inverted; Pillow undoes that as it opens the file
        inks = _decoded(path, "CMYK")
    return ink_on_paper(inks, cmyk_profile())


def ycck(path: Path, width: int, height: int) -> Pixels:
    """CMYK whose first three inks are stored as luminance and colour: Adobe's transform 2 instead of 0."""
    Image.fromarray(_scene(width, height, 4), mode="CMYK").save(path, quality=100)
    # Pillow, which wrote it, stores and reads CMYK inverted, as Adobe does
    stored = 255.0 - _decoded(path, "CMYK")
    data = bytearray(path.read_bytes())
    data[data.index(b"Adobe") + 11] = 2
    path.write_bytes(data)
    y, cb, cr, k = (stored[..., band] for band in range(4))
    cb, cr = cb - 128, cr - 128
    # T.871's formulae, of inverted inks
    inks = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb, 255 - k], axis=-1)
    return ink_on_paper(np.clip(np.rint(inks), 0, 255).astype(np.uint8), cmyk_profile())


def layout(path: Path, width: int, height: int, *, bands: int = 3, dtype: type = np.uint8, **options: object) -> Pixels:
    """A TIFF written by hand, of 8 or 16 bits."""
    pixels = _scene(width, height, bands)
    wide = pixels.astype(dtype) * dtype(257 if dtype is np.uint16 else 1)
    tiffs.write(path, wide, **options)  # type: ignore[arg-type]
    if dtype is np.uint16:
        return stretched(wide)
    return pixels if bands > 2 else np.concatenate([_grey(pixels), pixels[..., 1:]], axis=-1)


def unmarked(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    tiffs.write(path, pixels, extra=[0])
    return pixels[..., :3]


def premultiplied(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    pixels[..., 3] |= 128
    alpha = pixels[..., 3:].astype(float)
    tiffs.write(
        path, np.concatenate([np.rint(pixels[..., :3] * alpha / 255).astype(np.uint8), pixels[..., 3:]], -1), extra=[1]
    )
    return pixels


def palette(path: Path, width: int, height: int, *, bits: int, **options: object) -> Pixels:
    colours = np.random.default_rng(5).integers(0, 256, (3, 2**bits))
    indexes = _scene(width, height, 1) >> (8 - bits)
    entries = [int(v) * 257 for v in colours.ravel()]
    tiffs.write(path, indexes, bits=bits % 8, photometric=tiffs.PALETTE, palette=entries, **options)  # type: ignore[arg-type]
    shown: Pixels = colours.T[indexes[..., 0]].astype(np.uint8)
    return shown


def ycbcr(path: Path, width: int, height: int, **options: object) -> Pixels:
    """A TIFF whose colours are as many as its pixels; Pillow converts it, to and fro."""
    image = Image.fromarray(_scene(width, height, 3)).convert("YCbCr")
    more = {530: ("H", [1, 1])}
    tiffs.write(path, np.asarray(image), photometric=tiffs.YCBCR, more=more, **options)  # type: ignore[arg-type]
    return np.asarray(image.convert("RGB"))


def white_is_zero(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 1)
    tiffs.write(path, pixels, photometric=tiffs.WHITE_IS_ZERO)
    return 255 - _grey(pixels)


def numbers(
    path: Path,
    width: int,
    height: int,
    *,
    dtype: type,
    bands: int = 1,
    scale: float = 3.0,
    planar: bool = False,
    reverse: bool = False,
) -> Pixels:
    """Samples without a scale of their own."""
    least = 7 if np.dtype(dtype).kind == "u" else -60
    values: Pixels = (_scene(width, height, bands).astype(float) * scale + least).astype(dtype)
    tiffs.write(path, values, planar=planar, photometric=tiffs.WHITE_IS_ZERO if reverse else None)
    return stretched(values, reverse=reverse)


def holes(path: Path, width: int, height: int) -> Pixels:
    """Heights with missing and infinite values: these are black and white, and the others keep their scale."""
    values = _scene(width, height, 1).astype(np.float32) - 100
    flat = values.reshape(-1)
    middle = np.argsort(flat)[len(flat) // 2 :][:3]
    if len(flat) > 9:
        flat[middle] = [np.nan, np.inf, -np.inf]
    tiffs.write(path, values)
    return stretched(values)


def float_alpha(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    samples = (pixels / 255).astype(np.float32)
    tiffs.write(path, samples, extra=[2])
    colours = stretched(samples[..., :3], seen=pixels[..., 3] > 0)
    return np.concatenate([colours, pixels[..., 3:]], axis=-1)


def frames(path: Path, width: int, height: int, **options: object) -> Pixels:
    frames = [Image.fromarray(pictures.scene(width, height, seed=seed)) for seed in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)  # type: ignore[arg-type]
    return _decoded(path)


def frame_on_canvas(path: Path, width: int, height: int) -> Pixels:
    """A GIF whose only frame leaves a border of its canvas free, where it has room for one."""
    left, top = min(3, width - 1), min(5, height - 1)
    encoded = io.BytesIO()
    frame_image = Image.fromarray(pictures.scene(width - left, height - top)).quantize(32)
    frame_image.save(encoded, "gif")
    data = bytearray(encoded.getvalue())
    # Logical screen at byte 6; the frame's place follows its separator, behind the screen's table of colours.
    place = data.index(b"\x2c", 13 + (3 << ((data[10] & 7) + 1)))
    struct.pack_into("<HH", data, 6, width, height)
    struct.pack_into("<HH", data, place + 1, left, top)
    path.write_bytes(data)
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[top:, left:, :3] = np.asarray(frame_image.convert("RGB"))
    pixels[top:, left:, 3] = 255
    return pixels if left or top else pixels[..., :3]


def wide_jpeg(path: Path, width: int) -> Path:
    """Write a whole JPEG as wide as the format allows: its blocks are those of 65,500 pixels up to 65,504."""
    pictures.jpeg(path, 65500, 8, subsample_mode="off")
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 7
    data[place : place + 2] = width.to_bytes(2, "big")
    path.write_bytes(data)
    return path
