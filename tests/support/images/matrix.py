"""Every kind of source that can be read. `docs/formats.md` is made of them: `make docs` writes what the tiler says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.images import (
    avifs,
    bmps,
    deep_tiffs,
    heics,
    makers,
    png_chunks,
    pnms,
    profiles,
    signals,
    tgas,
    zstd_tiffs,
)
from tests.support.images.pictures import Pixels

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


LZW_TILES: dict[str, Any] = {"compression": "lzw", "predictor": 2, "tile": (16, 32)}
PACKED: dict[str, Any] = {"compression": "packbits", "tile": (32, 16)}

CASES = (
    Case("JPEG", "baseline", "jpg", partial(makers.by_pillow, quality=90)),
    Case("JPEG", "progressive", "jpg", partial(makers.by_pillow, quality=90, progressive=True)),
    Case("JPEG", "colours in full resolution", "jpg", partial(makers.by_pillow, quality=90, subsampling=0)),
    Case("JPEG", "restart markers", "jpg", partial(makers.by_pillow, quality=90, restart_marker_rows=1)),
    Case("JPEG", "grey", "jpg", partial(makers.by_pillow, mode="L", quality=90)),
    Case("JPEG", "CMYK", "jpg", partial(makers.inks, Q=95), 2, 0.5),
    Case("JPEG", "CMYK with a profile", "jpg", partial(makers.inks, Q=95, with_profile=True), 2, 0.5),
    Case("JPEG", "YCCK, marked by Adobe", "jpg", makers.ycck, 3, 0.7),
    Case(
        "JPEG",
        "Adobe RGB (1998)",
        "jpg",
        partial(makers.with_profile, primaries=profiles.ADOBE_RGB, gamma=2.19921875),
        2,
        0.5,
    ),
    Case(
        "JPEG",
        "Display P3",
        "jpg",
        partial(makers.with_profile, primaries=profiles.DISPLAY_P3, gamma=2.19921875),
        2,
        0.5,
    ),
    Case("PNG", "RGB", "png", makers.by_libvips),
    Case("PNG", "RGB, interlaced", "png", partial(makers.by_libvips, interlace=True)),
    Case("PNG", "RGB with alpha", "png", partial(makers.by_libvips, bands=4)),
    Case("PNG", "RGB, 16 bits", "png", partial(makers.wide, bands=3)),
    Case("PNG", "RGB with alpha, 16 bits, interlaced", "png", partial(makers.wide, bands=4, interlace=True)),
    Case("PNG", "RGB with a transparent colour (tRNS)", "png", partial(makers.transparent_colour, mode="RGB")),
    Case("PNG", "grey, 1 bit", "png", partial(makers.bits, bits=1)),
    Case("PNG", "grey, 2 bits", "png", partial(makers.bits, bits=2)),
    Case("PNG", "grey, 4 bits", "png", partial(makers.bits, bits=4, interlace=True)),
    Case("PNG", "grey", "png", partial(makers.by_libvips, bands=1)),
    Case("PNG", "grey with alpha", "png", partial(makers.by_libvips, bands=2)),
    Case("PNG", "grey, 16 bits", "png", partial(makers.wide, bands=1)),
    Case("PNG", "grey with alpha, 16 bits", "png", partial(makers.wide, bands=2)),
    Case("PNG", "grey with a transparent level (tRNS)", "png", partial(makers.transparent_colour, mode="L")),
    Case("PNG", "palette, 1 bit", "png", partial(makers.few_colours, bits=1)),
    Case("PNG", "palette, 4 bits", "png", partial(makers.few_colours, bits=4)),
    Case("PNG", "palette", "png", partial(makers.few_colours, bits=8)),
    Case("PNG", "palette with a transparent entry (tRNS)", "png", partial(makers.few_colours, bits=4, transparency=0)),
    Case("PNG", "an sRGB profile", "png", makers.with_srgb_profile),
    Case(
        "PNG",
        "Display P3",
        "png",
        partial(makers.with_profile, primaries=profiles.DISPLAY_P3, gamma=2.19921875),
        2,
        0.5,
    ),
    Case("PNG", "grey with a profile", "png", makers.with_grey_profile, 4, 0.6),
    Case(
        "PNG",
        "Display P3, stated by cICP",
        "png",
        partial(png_chunks.in_space, primaries=signals.P3, transfer=13),
        1,
        0.2,
    ),
    Case(
        "PNG",
        "HDR by PQ, stated by cICP",
        "png",
        partial(png_chunks.in_space, primaries=9, transfer=signals.PQ),
        1,
        0.2,
    ),
    Case("PNG", "linear light, stated by gAMA", "png", png_chunks.linear, 1, 0.2),
    Case("TIFF", "strips", "tif", makers.by_libvips),
    Case("TIFF", "tiles", "tif", partial(makers.by_libvips, tile=True, tile_width=32, tile_height=16)),
    Case(
        "TIFF",
        "a pyramid of pages",
        "tif",
        partial(makers.by_libvips, tile=True, pyramid=True, tile_width=16, tile_height=16),
    ),
    Case(
        "TIFF", "a pyramid of subdirectories", "tif", partial(makers.by_libvips, tile=True, pyramid=True, subifd=True)
    ),
    Case("TIFF", "BigTIFF", "tif", partial(makers.by_libvips, bigtiff=True)),
    Case("TIFF", "big-endian", "tif", partial(makers.layout, big_endian=True, dtype=np.uint16)),
    Case("TIFF", "planes apart", "tif", partial(makers.layout, planar=True)),
    Case(
        "TIFF", "planes apart, 16 bits, in strips", "tif", partial(makers.layout, planar=True, dtype=np.uint16, rows=7)
    ),
    Case("TIFF", "planes apart, grey with alpha", "tif", partial(makers.layout, bands=2, extra=[2], planar=True)),
    Case(
        "TIFF",
        "planes apart, half-precision float",
        "tif",
        partial(makers.numbers, dtype=np.float16, bands=3, planar=True),
        1,
        0.1,
    ),
    Case(
        "TIFF",
        "planes apart, in tiles, deflate",
        "tif",
        partial(zstd_tiffs.scene, planar=True, compression="zlib", predictor=2, tile=(16, 32)),
    ),
    Case(
        "TIFF",
        "planes apart, in tiles, zstd, 16 bits",
        "tif",
        partial(zstd_tiffs.scene, planar=True, dtype=np.uint16, byteorder=">", predictor=2, tile=(16, 32)),
    ),
    Case("TIFF", "planes apart, in tiles, LZW", "tif", partial(zstd_tiffs.scene, planar=True, **LZW_TILES)),
    Case("TIFF", "planes apart, PackBits, CMYK", "tif", partial(zstd_tiffs.inks, planar=True, **PACKED), 2, 0.1),
    Case("TIFF", "LZW", "tif", partial(makers.by_libvips, compression="lzw", predictor="horizontal")),
    Case("TIFF", "deflate", "tif", partial(makers.by_libvips, compression="deflate", bands=4)),
    Case("TIFF", "zstd", "tif", partial(zstd_tiffs.scene, predictor=2, rowsperstrip=7)),
    Case("TIFF", "zstd, in one strip", "tif", partial(zstd_tiffs.scene, rowsperstrip=10**6)),
    Case("TIFF", "zstd, in tiles", "tif", partial(zstd_tiffs.scene, predictor=2, tile=(32, 16))),
    Case(
        "TIFF",
        "zstd, 16 bits, big-endian",
        "tif",
        partial(zstd_tiffs.scene, dtype=np.uint16, byteorder=">", predictor=2, rowsperstrip=5),
    ),
    Case("TIFF", "zstd, planes apart", "tif", partial(zstd_tiffs.scene, planar=True, predictor=2, rowsperstrip=9)),
    Case("TIFF", "zstd, BigTIFF with alpha", "tif", partial(zstd_tiffs.scene, bands=4, bigtiff=True, extrasamples=[2])),
    Case("TIFF", "zstd, palette, 4 bits", "tif", partial(zstd_tiffs.colours, bits=4)),
    Case("TIFF", "zstd, CMYK with a profile", "tif", partial(zstd_tiffs.inks, tile=(16, 32)), 2, 0.1),
    Case("TIFF", "zstd, float", "tif", partial(zstd_tiffs.heights, predictor=3, rowsperstrip=3), 1, 0.1),
    Case(
        "TIFF",
        "zstd, float, big-endian, in tiles",
        "tif",
        partial(zstd_tiffs.heights, predictor=3, byteorder=">", tile=(48, 16)),
        1,
        0.1,
    ),
    Case("TIFF", "zstd, a pyramid of pages", "tif", zstd_tiffs.pyramid),
    Case("TIFF", "zstd, a pyramid of subdirectories", "tif", partial(zstd_tiffs.pyramid, below=True)),
    Case("TIFF", "PackBits", "tif", partial(makers.by_libvips, compression="packbits")),
    Case("TIFF", "JPEG", "tif", partial(makers.by_pillow, compression="jpeg", quality=90), 1, 0.1),
    Case("TIFF", "lossless WebP", "tif", partial(makers.by_libvips, compression="webp", lossless=True)),
    Case("TIFF", "CCITT group 4, 1 bit", "tif", partial(makers.bits, bits=1, compression="ccittfax4")),
    Case("TIFF", "grey, 1 bit", "tif", partial(makers.bits, bits=1)),
    Case("TIFF", "grey, 4 bits", "tif", partial(makers.bits, bits=4)),
    Case("TIFF", "grey, white is zero", "tif", makers.white_is_zero),
    Case("TIFF", "grey with alpha", "tif", partial(makers.layout, bands=2, extra=[2])),
    Case("TIFF", "grey, 16 bits", "tif", partial(makers.wide, bands=1)),
    Case("TIFF", "palette", "tif", partial(makers.palette, bits=8)),
    Case("TIFF", "palette, 6 bits", "tif", partial(makers.palette, bits=6)),
    Case("TIFF", "palette, 4 bits", "tif", partial(makers.palette, bits=4)),
    Case("TIFF", "RGB with alpha", "tif", partial(makers.layout, bands=4, extra=[2])),
    Case("TIFF", "RGB with alpha that colours are multiplied by", "tif", makers.premultiplied, 1, 0.3),
    Case("TIFF", "RGB with a fourth band of no stated meaning", "tif", makers.unmarked),
    Case("TIFF", "YCbCr", "tif", makers.ycbcr, 1, 0.7),
    Case("TIFF", "YCbCr, zstd, in tiles", "tif", partial(makers.ycbcr, tile=32, **zstd_tiffs.BY_HAND), 1, 0.7),
    Case("TIFF", "YCbCr, planes apart", "tif", partial(makers.ycbcr, planar=True, rows=7), 1, 0.7),
    Case("TIFF", "CMYK", "tif", makers.inks, 2, 0.1),
    Case("TIFF", "CMYK with a profile", "tif", partial(makers.inks, with_profile=True, compression="lzw"), 2, 0.1),
    Case("TIFF", "8 bits, signed", "tif", partial(makers.numbers, dtype=np.int8, scale=0.5), 1, 0.1),
    Case("TIFF", "16 bits, signed", "tif", partial(makers.numbers, dtype=np.int16), 1, 0.1),
    Case("TIFF", "32 bits", "tif", partial(makers.numbers, dtype=np.uint32, scale=16_000_000), 1, 0.1),
    Case("TIFF", "32 bits, signed", "tif", partial(makers.numbers, dtype=np.int32), 1, 0.1),
    Case("TIFF", "half-precision float", "tif", partial(makers.numbers, dtype=np.float16), 1, 0.1),
    Case("TIFF", "float", "tif", partial(makers.numbers, dtype=np.float32), 1, 0.1),
    Case("TIFF", "float, white is zero", "tif", partial(makers.numbers, dtype=np.float32, reverse=True), 1, 0.1),
    Case(
        "TIFF", "16 bits, signed, white is zero", "tif", partial(makers.numbers, dtype=np.int16, reverse=True), 1, 0.1
    ),
    Case("TIFF", "float with missing and infinite values", "tif", makers.holes, 1, 0.1),
    Case("TIFF", "float, RGB", "tif", partial(makers.numbers, dtype=np.float32, bands=3), 1, 0.1),
    Case("TIFF", "float, RGB with alpha", "tif", makers.float_alpha, 1, 0.1),
    Case("TIFF", "64-bit float", "tif", partial(deep_tiffs.counts, dtype="<f8", compression="none"), 1, 0.1),
    Case(
        "TIFF",
        "64-bit float, deflate, predictor, RGB in tiles",
        "tif",
        partial(deep_tiffs.counts, dtype="<f8", bands=3, compression="zlib", predictor=3, tile=(16, 32)),
        1,
        0.1,
    ),
    Case(
        "TIFF",
        "64-bit float, LZW, predictor, big-endian",
        "tif",
        partial(deep_tiffs.counts, dtype=">f8", compression="lzw", predictor=3, rowsperstrip=5),
        1,
        0.1,
    ),
    Case("TIFF", "64 bits", "tif", partial(deep_tiffs.counts, dtype="<u8", tile=(16, 16)), 1, 0.1),
    Case(
        "TIFF",
        "64 bits, signed, RGB, planes apart",
        "tif",
        partial(deep_tiffs.counts, dtype=">i8", bands=3, planar=True, compression="packbits"),
        1,
        0.1,
    ),
    Case("TIFF", "complex", "tif", partial(deep_tiffs.waves, dtype="<c8"), 1, 0.1),
    Case(
        "TIFF",
        "complex, 128 bits, big-endian, LZW",
        "tif",
        partial(deep_tiffs.waves, dtype=">c16", compression="lzw"),
        1,
        0.1,
    ),
    Case("TIFF", "complex integers", "tif", deep_tiffs.whole_waves, 1, 0.1),
    Case("TIFF", "12 bits", "tif", partial(deep_tiffs.packed, bits=12), 1, 0.1),
    Case("TIFF", "12 bits, RGB in tiles", "tif", partial(deep_tiffs.packed, bits=12, bands=3, tile=32), 1, 0.1),
    Case(
        "TIFF",
        "10 bits, big-endian, LZW",
        "tif",
        partial(deep_tiffs.packed, bits=10, big_endian=True, **deep_tiffs.LZW),
        1,
        0.1,
    ),
    Case(
        "TIFF",
        "14 bits, deflate, in strips",
        "tif",
        partial(deep_tiffs.packed, bits=14, rows=7, **deep_tiffs.DEFLATE),
        1,
        0.1,
    ),
    Case("TIFF", "6 bits", "tif", partial(deep_tiffs.packed, bits=6), 1, 0.1),
    Case("TIFF", "4 bits, RGB", "tif", partial(deep_tiffs.packed, bits=4, bands=3)),
    Case("TIFF", "8-bit CIELAB", "tif", deep_tiffs.lab, 1, 0.2),
    Case(
        "TIFF",
        "8-bit CIELAB, deflate, in tiles",
        "tif",
        partial(deep_tiffs.lab, compression="zlib", tile=(16, 16)),
        1,
        0.2,
    ),
    Case("TIFF", "8-bit CIELAB as ICC profiles store it", "tif", partial(deep_tiffs.lab, photometric="icclab"), 1, 0.2),
    Case("TIFF", "LZMA", "tif", partial(zstd_tiffs.scene, compression="lzma", predictor=2, rowsperstrip=7)),
    Case(
        "TIFF",
        "LZMA, planes apart, in tiles",
        "tif",
        partial(zstd_tiffs.scene, compression="lzma", planar=True, tile=(16, 32)),
    ),
    Case("WebP", "lossy", "webp", partial(makers.by_pillow, quality=85)),
    Case("WebP", "lossless", "webp", partial(makers.by_libvips, lossless=True)),
    Case("WebP", "lossless with alpha", "webp", partial(makers.by_libvips, bands=4, lossless=True, exact=True)),
    Case("WebP", "animated: the first frame", "webp", partial(makers.frames, lossless=True)),
    Case("HEIC", "without loss", "heic", heics.plain),
    Case("HEIC", "colours at half the resolution", "heic", heics.lossy, 2, 0.5),
    Case("HEIC", "in tiles, as phones write it", "heic", heics.grid),
    Case("HEIC", "grey", "heic", partial(heics.plain, bands=1)),
    Case("HEIC", "grey of limited range", "heic", heics.limited_grey),
    Case("HEIC", "with alpha", "heic", partial(heics.plain, bands=4)),
    Case("HEIC", "10 bits", "heic", partial(heics.deep, bands=3, bits=10)),
    Case("HEIC", "grey, 10 bits", "heic", partial(heics.deep, bands=1, bits=10)),
    Case("HEIC", "12 bits with alpha", "heic", partial(heics.deep, bands=4, bits=12)),
    Case("HEIC", "Display P3", "heic", partial(heics.with_profile, primaries=profiles.DISPLAY_P3, gamma=2.2), 2, 0.5),
    Case(
        "HEIC",
        "Display P3, stated by numbers",
        "heic",
        partial(heics.in_space, primaries=signals.P3, transfer=signals.SRGB),
        1,
        0.2,
    ),
    Case(
        "HEIC",
        "10 bits, HDR by PQ",
        "heic",
        partial(heics.in_space, primaries=signals.BT2020, transfer=signals.PQ),
        1,
        0.2,
    ),
    Case("AVIF", "lossless", "avif", partial(makers.by_libvips, lossless=True, compression="av1", effort=0)),
    Case("AVIF", "lossy", "avif", partial(makers.by_pillow, quality=90, subsampling="4:4:4"), 4, 1.0),
    Case(
        "AVIF",
        "with alpha",
        "avif",
        partial(makers.by_pillow, mode="RGBA", shown="RGBA", quality=90, subsampling="4:4:4"),
        4,
        1.0,
    ),
    Case("AVIF", "with alpha that colours are multiplied by", "avif", avifs.premultiplied, 4, 1.0),
    Case("AVIF", "grey of limited range", "avif", avifs.limited_grey),
    Case("AVIF", "grey of limited range, with alpha", "avif", partial(avifs.limited_grey, bands=4), 1, 0.1),
    Case(
        "AVIF",
        "10 bits, HDR by HLG",
        "avif",
        partial(avifs.in_space, primaries=signals.BT2020, transfer=signals.HLG),
        1,
        0.2,
    ),
    Case("GIF", "of 256 colours", "gif", partial(makers.few_colours, bits=8)),
    Case("GIF", "interlaced", "gif", partial(makers.few_colours, bits=6, interlace=1)),
    Case("GIF", "with a transparent colour", "gif", partial(makers.few_colours, bits=6, transparency=1)),
    Case("GIF", "animated: the first frame", "gif", makers.frames),
    Case("GIF", "a frame smaller than its canvas", "gif", makers.frame_on_canvas),
    Case("BMP", "24 bits", "bmp", bmps.plain),
    Case("BMP", "32 bits, the last 8 without meaning", "bmp", partial(bmps.plain, bits=32)),
    Case("BMP", "rows from the top", "bmp", partial(bmps.plain, top_down=True)),
    Case("BMP", "palette, 1 bit", "bmp", partial(bmps.colours, bits=1)),
    Case("BMP", "palette, 2 bits", "bmp", partial(bmps.colours, bits=2)),
    Case("BMP", "palette, 4 bits", "bmp", partial(bmps.colours, bits=4)),
    Case("BMP", "palette", "bmp", partial(bmps.colours, bits=8)),
    Case("BMP", "palette, of OS/2", "bmp", partial(bmps.colours, bits=8, core=True)),
    Case("BMP", "runs (RLE8)", "bmp", partial(bmps.colours, bits=8, runs=True)),
    Case("BMP", "runs, 4 bits (RLE4)", "bmp", partial(bmps.colours, bits=4, runs=True)),
    Case("BMP", "16 bits", "bmp", partial(bmps.masked, masks=(0x7C00, 0x3E0, 0x1F), bits=16, plain=True)),
    Case("BMP", "16 bits, 5-6-5", "bmp", partial(bmps.masked, masks=(0xF800, 0x7E0, 0x1F), bits=16)),
    Case("BMP", "32 bits, 10 each", "bmp", partial(bmps.masked, masks=(0x3FF00000, 0xFFC00, 0x3FF), bits=32)),
    Case(
        "BMP",
        "32 bits with alpha",
        "bmp",
        partial(bmps.masked, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), bits=32),
    ),
    Case("BMP", "a colour profile", "bmp", bmps.with_profile, 2, 0.5),
    Case("PNM", "PPM", "ppm", partial(pnms.plain, note=b"# by a program\n")),
    Case("PNM", "PPM, up to 100", "ppm", partial(pnms.plain, most=100)),
    Case("PNM", "PPM, 16 bits", "ppm", partial(pnms.plain, most=65535), 1, 0.1),
    Case("PNM", "PPM as text", "ppm", partial(pnms.plain, text=True)),
    Case("PNM", "PGM", "pgm", partial(pnms.plain, bands=1)),
    Case("PNM", "PGM, up to 4,095", "pgm", partial(pnms.plain, bands=1, most=4095), 1, 0.1),
    Case("PNM", "PGM as text, up to 1,023", "pgm", partial(pnms.plain, bands=1, most=1023, text=True), 1, 0.1),
    Case("PNM", "PBM", "pbm", pnms.bits),
    Case("PNM", "PBM as text", "pbm", partial(pnms.bits, text=True)),
    Case("PNM", "PAM, RGB with alpha", "pam", partial(pnms.pam, bands=4, kind="RGB_ALPHA")),
    Case(
        "PNM",
        "PAM, grey with alpha, up to 1,023",
        "pam",
        partial(pnms.pam, bands=2, kind="GRAYSCALE_ALPHA", most=1023),
        1,
        0.1,
    ),
    Case("PNM", "PAM, four bands of no known meaning", "pam", partial(pnms.pam, bands=4, kind="SCAN")),
    Case("PNM", "PAM, black and white", "pam", partial(pnms.pam, bands=1, kind="BLACKANDWHITE", most=1)),
    Case("PNM", "PFM, RGB", "pfm", partial(pnms.floats, bands=3), 1, 0.1),
    Case("PNM", "PFM, grey, big-endian", "pfm", partial(pnms.floats, order=">"), 1, 0.1),
    Case("TGA", "24 bits", "tga", tgas.plain),
    Case("TGA", "32 bits with alpha, behind a note", "tga", partial(tgas.plain, bands=4, note=b"a note")),
    Case("TGA", "grey", "tga", partial(tgas.plain, bands=1)),
    Case("TGA", "grey of 1 bit", "tga", tgas.one_bit),
    Case("TGA", "grey with alpha", "tga", partial(tgas.plain, bands=2)),
    Case("TGA", "rows from the top", "tga", partial(tgas.plain, flags=tgas.FROM_TOP)),
    Case("TGA", "rows from the right", "tga", partial(tgas.plain, flags=tgas.FROM_RIGHT)),
    Case("TGA", "runs", "tga", tgas.by_pillow),
    Case("TGA", "runs, 32 bits with alpha", "tga", partial(tgas.by_pillow, mode="RGBA")),
    Case("TGA", "runs that go on in the next row", "tga", partial(tgas.plain, runs=True)),
    Case("TGA", "16 bits", "tga", tgas.fives),
    Case("TGA", "16 bits with alpha", "tga", partial(tgas.fives, has_alpha=True)),
    Case("TGA", "palette", "tga", tgas.palette),
    Case(
        "TGA",
        "palette of 16 bits that begins at 20, in runs",
        "tga",
        partial(tgas.palette, bits=16, first=20, runs=True),
    ),
    Case("TGA", "alpha that it says is none", "tga", partial(tgas.with_footer, attributes=1)),
    Case("TGA", "alpha that colours are multiplied by", "tga", partial(tgas.with_footer, attributes=4), 2, 0.5),
)
