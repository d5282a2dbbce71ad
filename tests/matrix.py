"""Every kind of source that can be read: how to make one, and which pixels it must become, computed another way.

`docs/formats.md` is made of the same cases: `make docs` writes what the tiler says of each.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, ImageCms

from tests import pictures, profiles, tiffs
from tests.pictures import Pixels

Maker = Callable[[Path, int, int], Pixels]
"""Writes a source of width x height pixels to the path, and gives the upright 8-bit sRGB pixels it must become."""


@dataclass(frozen=True)
class Case:
    """One kind of source.

    Parameters
    ----------
    kind: format, for the docs' table.
    what: which variety of it.
    ending: of the file's name; writers heed it, the tiler does not.
    make: see Maker.
    tolerance: most that any sample may differ: what two decoders or colour engines round differently.
    mean: most that samples may differ in the mean.
    """

    kind: str
    what: str
    ending: str
    make: Maker
    tolerance: int = 0
    mean: float = 0.0

    @property
    def name(self) -> str:
        """For a test's id."""
        return f"{self.kind}: {self.what}"


def _scene(width: int, height: int, bands: int = 3) -> Pixels:
    return pictures.scene(width, height, bands=bands)


def _grey(plane: Pixels) -> Pixels:
    return np.repeat(plane[..., :1], 3, axis=2)


def _decoded(path: Path, mode: str = "RGB") -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def _by_pillow(
    path: Path, width: int, height: int, *, mode: str = "RGB", shown: str = "RGB", **options: object
) -> Pixels:
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = _scene(width, height, bands)
    image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)
    image.save(path, **options)  # type: ignore[arg-type]  # each format's own
    return _decoded(path, shown)


def _by_libvips(path: Path, width: int, height: int, *, bands: int = 3, **options: object) -> Pixels:
    """Lossless formats: what is written must come back."""
    pixels = _scene(width, height, bands)
    pictures.save(pixels, path, "srgb" if bands > 2 else "b-w", **options)
    return pixels if bands > 2 else np.concatenate([_grey(pixels), pixels[..., 1:]], axis=-1)


def _few_colours(path: Path, width: int, height: int, *, bits: int, **options: object) -> Pixels:
    image = Image.fromarray(_scene(width, height)).quantize(2**bits, dither=Image.Dither.NONE)
    image.save(path, **({"bits": bits} if path.suffix == ".png" else {}), **options)  # type: ignore[arg-type]
    return _decoded(path, "RGBA" if "transparency" in options else "RGB")


def _bits(path: Path, width: int, height: int, *, bits: int, **options: object) -> Pixels:
    """Grey of less than 8 bits: its levels are spread evenly over 0 to 255."""
    spread = (_scene(width, height, 1).astype(int) >> (8 - bits)) * 255 // (2**bits - 1)
    pictures.save(spread.astype(np.uint8), path, "b-w", bitdepth=bits, **options)
    return _grey(spread.astype(np.uint8))


def _wide(path: Path, width: int, height: int, *, bands: int, **options: object) -> Pixels:
    """16 bits: the upper 8 count."""
    pixels = _scene(width, height, bands)
    low = np.random.default_rng(7).integers(0, 256, pixels.shape, dtype=np.uint16)
    pictures.save((pixels.astype(np.uint16) << 8) | low, path, "rgb16" if bands > 2 else "grey16", **options)
    return pixels if bands > 2 else np.concatenate([_grey(pixels), pixels[..., 1:]], axis=-1)


def _transparent_colour(path: Path, width: int, height: int, *, mode: str) -> Pixels:
    pixels = _scene(width, height, 3 if mode == "RGB" else 1)
    seen = pixels[height // 2, width // 2]
    chosen: object = tuple(map(int, seen)) if mode == "RGB" else int(seen[0])
    image = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])
    image.save(path, transparency=chosen)
    return _decoded(path, "RGBA")


def _with_profile(path: Path, width: int, height: int, *, primaries: profiles.Primaries, gamma: float) -> Pixels:
    pixels = _scene(width, height)
    profile = profiles.rgb_profile(primaries, gamma)
    Image.fromarray(pixels).save(path, icc_profile=profile, quality=100)
    return profiles.srgb_of(_decoded(path), primaries, gamma)


def _with_grey_profile(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 1)
    Image.fromarray(pixels[..., 0]).save(path, icc_profile=profiles.grey_profile(1.5))
    return profiles.srgb_of(_grey(pixels), profiles.SRGB, 1.5)


def _with_srgb_profile(path: Path, width: int, height: int) -> Pixels:
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


def _inks(path: Path, width: int, height: int, *, with_profile: bool = False, **options: object) -> Pixels:
    inks = _scene(width, height, 4)
    image = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk")
    if with_profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", cmyk_profile())
    image.write_to_file(str(path), **options)
    if path.suffix == ".jpg":
        # Adobe's way is to store CMYK inverted; Pillow undoes that as it opens the file
        inks = _decoded(path, "CMYK")
    return ink_on_paper(inks, cmyk_profile())


def _ycck(path: Path, width: int, height: int) -> Pixels:
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


def _layout(
    path: Path, width: int, height: int, *, bands: int = 3, dtype: type = np.uint8, **options: object
) -> Pixels:
    """A TIFF written by hand, of 8 or 16 bits."""
    pixels = _scene(width, height, bands)
    wide = pixels.astype(dtype) * dtype(257 if dtype is np.uint16 else 1)
    tiffs.write(path, wide, **options)  # type: ignore[arg-type]
    return pixels if bands > 2 else np.concatenate([_grey(pixels), pixels[..., 1:]], axis=-1)


def _unmarked(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    tiffs.write(path, pixels, extra=[0])
    return pixels[..., :3]


def _premultiplied(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    pixels[..., 3] |= 128
    alpha = pixels[..., 3:].astype(float)
    tiffs.write(
        path, np.concatenate([np.rint(pixels[..., :3] * alpha / 255).astype(np.uint8), pixels[..., 3:]], -1), extra=[1]
    )
    return pixels


def _palette(path: Path, width: int, height: int, *, bits: int) -> Pixels:
    colours = np.random.default_rng(5).integers(0, 256, (3, 2**bits))
    indexes = _scene(width, height, 1) >> (8 - bits)
    tiffs.write(
        path, indexes, bits=bits % 8, photometric=tiffs.PALETTE, palette=[int(v) * 257 for v in colours.ravel()]
    )
    shown: Pixels = colours.T[indexes[..., 0]].astype(np.uint8)
    return shown


def _white_is_zero(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 1)
    tiffs.write(path, pixels, photometric=tiffs.WHITE_IS_ZERO)
    return 255 - _grey(pixels)


def _numbers(path: Path, width: int, height: int, *, dtype: type, bands: int = 1, scale: float = 3.0) -> Pixels:
    """Samples without a scale of their own: stretched from the least to the greatest of all colours."""
    least = 7 if np.dtype(dtype).kind == "u" else -60
    values: Pixels = (_scene(width, height, bands).astype(float) * scale + least).astype(dtype)
    tiffs.write(path, values)
    low, high = float(values.min()), float(values.max())
    stretched = np.rint((values.astype(float) - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return _grey(stretched) if bands == 1 else stretched


def _holes(path: Path, width: int, height: int) -> Pixels:
    """Heights with missing and infinite values: these are black and white, and the others keep their scale."""
    values = _scene(width, height, 1).astype(np.float32) - 100
    expected = (values - values.min()) * (255 / max(1.0, float(np.ptp(values))))
    flat, shown = values.reshape(-1), expected.reshape(-1)
    # Neither the first nor the last of a value: the range stays what it is
    for place, (value, becomes) in enumerate([(np.nan, 0), (np.inf, 255), (-np.inf, 0)]):
        middle = np.argsort(flat)[len(flat) // 2 :][:3]
        if len(flat) > 9:
            flat[middle[place]], shown[middle[place]] = value, becomes
    tiffs.write(path, values)
    return _grey(np.rint(expected).astype(np.uint8))


def _float_alpha(path: Path, width: int, height: int) -> Pixels:
    pixels = _scene(width, height, 4)
    low, high = int(pixels[..., :3].min()), int(pixels[..., :3].max())
    tiffs.write(path, (pixels / 255).astype(np.float32), extra=[2])
    colours = np.rint((pixels[..., :3].astype(float) - low) * (255 / (high - low) if high > low else 0))
    return np.concatenate([colours.astype(np.uint8), pixels[..., 3:]], axis=-1)


def _frames(path: Path, width: int, height: int, **options: object) -> Pixels:
    frames = [Image.fromarray(pictures.scene(width, height, seed=seed)) for seed in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)  # type: ignore[arg-type]
    return _decoded(path)


CASES = (
    Case("JPEG", "baseline", "jpg", partial(_by_pillow, quality=90)),
    Case("JPEG", "progressive", "jpg", partial(_by_pillow, quality=90, progressive=True)),
    Case("JPEG", "colours in full resolution", "jpg", partial(_by_pillow, quality=90, subsampling=0)),
    Case("JPEG", "restart markers", "jpg", partial(_by_pillow, quality=90, restart_marker_rows=1)),
    Case("JPEG", "grey", "jpg", partial(_by_pillow, mode="L", quality=90)),
    Case("JPEG", "CMYK", "jpg", partial(_inks, Q=95), 2, 0.5),
    Case("JPEG", "CMYK with a profile", "jpg", partial(_inks, Q=95, with_profile=True), 2, 0.5),
    Case("JPEG", "YCCK, marked by Adobe", "jpg", _ycck, 3, 0.7),
    Case(
        "JPEG",
        "Adobe RGB (1998)",
        "jpg",
        partial(_with_profile, primaries=profiles.ADOBE_RGB, gamma=2.19921875),
        2,
        0.5,
    ),
    Case("JPEG", "Display P3", "jpg", partial(_with_profile, primaries=profiles.DISPLAY_P3, gamma=2.19921875), 2, 0.5),
    Case("PNG", "RGB", "png", _by_libvips),
    Case("PNG", "RGB, interlaced", "png", partial(_by_libvips, interlace=True)),
    Case("PNG", "RGB with alpha", "png", partial(_by_libvips, bands=4)),
    Case("PNG", "RGB, 16 bits", "png", partial(_wide, bands=3)),
    Case("PNG", "RGB with alpha, 16 bits, interlaced", "png", partial(_wide, bands=4, interlace=True)),
    Case("PNG", "RGB with a transparent colour (tRNS)", "png", partial(_transparent_colour, mode="RGB")),
    Case("PNG", "grey, 1 bit", "png", partial(_bits, bits=1)),
    Case("PNG", "grey, 2 bits", "png", partial(_bits, bits=2)),
    Case("PNG", "grey, 4 bits", "png", partial(_bits, bits=4, interlace=True)),
    Case("PNG", "grey", "png", partial(_by_libvips, bands=1)),
    Case("PNG", "grey with alpha", "png", partial(_by_libvips, bands=2)),
    Case("PNG", "grey, 16 bits", "png", partial(_wide, bands=1)),
    Case("PNG", "grey with alpha, 16 bits", "png", partial(_wide, bands=2)),
    Case("PNG", "grey with a transparent level (tRNS)", "png", partial(_transparent_colour, mode="L")),
    Case("PNG", "palette, 1 bit", "png", partial(_few_colours, bits=1)),
    Case("PNG", "palette, 4 bits", "png", partial(_few_colours, bits=4)),
    Case("PNG", "palette", "png", partial(_few_colours, bits=8)),
    Case("PNG", "palette with a transparent entry (tRNS)", "png", partial(_few_colours, bits=4, transparency=0)),
    Case("PNG", "an sRGB profile", "png", _with_srgb_profile),
    Case("PNG", "Display P3", "png", partial(_with_profile, primaries=profiles.DISPLAY_P3, gamma=2.19921875), 2, 0.5),
    Case("PNG", "grey with a profile", "png", _with_grey_profile, 4, 0.6),
    Case("TIFF", "strips", "tif", _by_libvips),
    Case("TIFF", "tiles", "tif", partial(_by_libvips, tile=True, tile_width=32, tile_height=16)),
    Case(
        "TIFF",
        "a pyramid of pages",
        "tif",
        partial(_by_libvips, tile=True, pyramid=True, tile_width=16, tile_height=16),
    ),
    Case("TIFF", "a pyramid of subdirectories", "tif", partial(_by_libvips, tile=True, pyramid=True, subifd=True)),
    Case("TIFF", "BigTIFF", "tif", partial(_by_libvips, bigtiff=True)),
    Case("TIFF", "big-endian", "tif", partial(_layout, big_endian=True, dtype=np.uint16)),
    Case("TIFF", "planes apart", "tif", partial(_layout, planar=True)),
    Case("TIFF", "planes apart, 16 bits, in strips", "tif", partial(_layout, planar=True, dtype=np.uint16, rows=7)),
    Case("TIFF", "LZW", "tif", partial(_by_libvips, compression="lzw", predictor="horizontal")),
    Case("TIFF", "deflate", "tif", partial(_by_libvips, compression="deflate", bands=4)),
    Case("TIFF", "PackBits", "tif", partial(_by_libvips, compression="packbits")),
    Case("TIFF", "JPEG", "tif", partial(_by_pillow, compression="jpeg", quality=90), 1, 0.1),
    Case("TIFF", "lossless WebP", "tif", partial(_by_libvips, compression="webp", lossless=True)),
    Case("TIFF", "CCITT group 4, 1 bit", "tif", partial(_bits, bits=1, compression="ccittfax4")),
    Case("TIFF", "grey, 1 bit", "tif", partial(_bits, bits=1)),
    Case("TIFF", "grey, 4 bits", "tif", partial(_bits, bits=4)),
    Case("TIFF", "grey, white is zero", "tif", _white_is_zero),
    Case("TIFF", "grey with alpha", "tif", partial(_layout, bands=2, extra=[2])),
    Case("TIFF", "grey, 16 bits", "tif", partial(_wide, bands=1)),
    Case("TIFF", "palette", "tif", partial(_palette, bits=8)),
    Case("TIFF", "palette, 4 bits", "tif", partial(_palette, bits=4)),
    Case("TIFF", "RGB with alpha", "tif", partial(_layout, bands=4, extra=[2])),
    Case("TIFF", "RGB with alpha that colours are multiplied by", "tif", _premultiplied, 1, 0.3),
    Case("TIFF", "RGB with a fourth band of no stated meaning", "tif", _unmarked),
    Case("TIFF", "CMYK", "tif", _inks, 2, 0.1),
    Case("TIFF", "CMYK with a profile", "tif", partial(_inks, with_profile=True, compression="lzw"), 2, 0.1),
    Case("TIFF", "8 bits, signed", "tif", partial(_numbers, dtype=np.int8, scale=0.5), 1, 0.1),
    Case("TIFF", "16 bits, signed", "tif", partial(_numbers, dtype=np.int16), 1, 0.1),
    Case("TIFF", "32 bits", "tif", partial(_numbers, dtype=np.uint32, scale=16_000_000), 1, 0.1),
    Case("TIFF", "32 bits, signed", "tif", partial(_numbers, dtype=np.int32), 1, 0.1),
    Case("TIFF", "half-precision float", "tif", partial(_numbers, dtype=np.float16), 1, 0.1),
    Case("TIFF", "float", "tif", partial(_numbers, dtype=np.float32), 1, 0.1),
    Case("TIFF", "float with missing and infinite values", "tif", _holes, 1, 0.1),
    Case("TIFF", "float, RGB", "tif", partial(_numbers, dtype=np.float32, bands=3), 1, 0.1),
    Case("TIFF", "float, RGB with alpha", "tif", _float_alpha, 1, 0.1),
    Case("WebP", "lossy", "webp", partial(_by_pillow, quality=85)),
    Case("WebP", "lossless", "webp", partial(_by_libvips, lossless=True)),
    Case("WebP", "lossless with alpha", "webp", partial(_by_libvips, bands=4, lossless=True, exact=True)),
    Case("WebP", "animated: the first frame", "webp", partial(_frames, lossless=True)),
    Case("AVIF", "lossless", "avif", partial(_by_libvips, lossless=True, compression="av1", effort=0)),
    Case("AVIF", "lossy", "avif", partial(_by_pillow, quality=90, subsampling="4:4:4"), 4, 1.0),
    Case(
        "AVIF",
        "with alpha",
        "avif",
        partial(_by_pillow, mode="RGBA", shown="RGBA", quality=90, subsampling="4:4:4"),
        4,
        1.0,
    ),
    Case("GIF", "of 256 colours", "gif", partial(_few_colours, bits=8)),
    Case("GIF", "interlaced", "gif", partial(_few_colours, bits=6, interlace=1)),
    Case("GIF", "with a transparent colour", "gif", partial(_few_colours, bits=6, transparency=1)),
    Case("GIF", "animated: the first frame", "gif", _frames),
)
