"""TIFFs with pixels that show nothing: masks as GDAL and COG writers add them, and values that stand for no data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from tests.support.images import pictures, tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.sparse_tiffs import HEIGHT, NODATA, TILE, WIDTH, entries, leave_out
from tests.support.images.stretched import stretched

MASK, REDUCED = 4, 1


class Masked(NamedTuple):
    """A file, what it shows as RGBA, its pages, and by how much the decoder of its compression may differ."""

    path: Path
    pixels: Pixels
    pages: int = 1
    tolerance: int = 0


def shape(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """An ellipse: true where a picture is shown."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2 < 0.2)


def with_alpha(pixels: Pixels, shown: Pixels) -> Pixels:
    """Colours, and 255 where they are shown."""
    colours = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    return np.dstack([colours, np.where(shown, 255, 0)]).astype(np.uint8)


def files(folder: Path) -> Iterator[Masked]:
    """Write a file of each kind."""
    yield from _masks(folder)
    yield from _nodata(folder)


def as_mask(path: Path, page: int, kind: int) -> None:
    """Call a written page a mask: tifffile writes masks of one bit only."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for tag, value in ((254, kind), (262, 4)):
            at = entries(file, page)[tag].valueoffset
            data[at] = value
    path.write_bytes(data)


def _masks(folder: Path) -> Iterator[Masked]:
    colour, shown = pictures.scene(WIDTH, HEIGHT), shape()
    tile: dict[str, Any] = {"tile": (TILE, TILE), "metadata": None}
    masks: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "deflate": (shown, {"compression": "deflate"} | tile),
        "none": (shown, {"metadata": None}),
        "bytes": (np.where(shown, 255, 0).astype(np.uint8), {"compression": "lzw"} | tile),
        "ones": (shown.astype(np.uint8), {"compression": "packbits", "rowsperstrip": 32, "metadata": None}),
        "zstd": (np.where(shown, 255, 0).astype(np.uint8), {"compression": "zstd", "metadata": None}),
    }
    for kind, (name, (mask, options)) in zip((4, 4, 4, 6, 6), masks.items(), strict=True):
        path = folder / f"mask-{name}.tif"
        with tifffile.TiffWriter(path) as file:
            file.write(colour, photometric="rgb", compression="lzw", **tile)
            file.write(mask, photometric="minisblack", subfiletype=2, **options)
        as_mask(path, 1, kind)
        yield Masked(path, with_alpha(colour, shown))
    path = folder / "cog.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(colour, photometric="ycbcr", compression="jpeg", compressionargs={"level": 100}, **tile)
        file.write(shown, photometric="mask", subfiletype=4, compression="deflate", **tile)
        file.write(colour[::2, ::2], photometric="rgb", subfiletype=1, **tile)
        file.write(shown[::2, ::2], photometric="mask", subfiletype=5, **tile)
    yield Masked(path, with_alpha(tifffile.imread(path, key=0), shown), pages=2, tolerance=3)
    path = folder / "mask-first.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(~shown, photometric="mask", subfiletype=4, **tile)
        file.write(colour, photometric="rgb", **tile)
    yield Masked(path, colour)
    path = folder / "below.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(colour, photometric="rgb", subifds=1, **tile)
        file.write(shown, photometric="mask", subfiletype=4, compression="deflate", **tile)
    yield Masked(path, with_alpha(colour, shown))
    path = folder / "sparse.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(colour, photometric="rgb", compression="lzw", **tile)
        file.write(shown | True, photometric="mask", subfiletype=4, compression="deflate", **tile)
    leave_out(path, (1,))
    leave_out(path, (3,), page=1)
    rest = np.ones((HEIGHT, WIDTH), bool)
    rest[:TILE, TILE : 2 * TILE] = rest[TILE:, :TILE] = False
    yield Masked(path, with_alpha(np.asarray(tifffile.imread(path, key=0)), rest))
    path = folder / "alpha-and-mask.tif"
    four = pictures.scene(WIDTH, HEIGHT, bands=4)
    with tifffile.TiffWriter(path) as file:
        file.write(four, photometric="rgb", extrasamples=["unassalpha"], **tile)
        file.write(shown, photometric="mask", subfiletype=4, **tile)
    yield Masked(path, np.dstack([four[..., :3], np.where(shown, four[..., 3], 0)]))


def _nodata(folder: Path) -> Iterator[Masked]:
    colour, grey, shown = pictures.scene(WIDTH, HEIGHT), pictures.scene(WIDTH, HEIGHT, bands=1)[..., 0], shape()
    for level in (0, 255):
        pixels = np.clip(colour, 1, 254)
        pixels[~shown] = level
        pixels[50, 70] = (level, level, 9)  # all of its bands have to have the value
        path = _written(folder / f"rgb-{level}.tif", pixels, str(level), photometric="rgb", compression="deflate")
        yield Masked(path, with_alpha(pixels, shown))
    values: list[tuple[str, Any, str, Any]] = [
        ("int16", np.int16, "-9999", -9999),
        ("int16-least", np.int16, "-32768", -32768),
        ("int32", np.int32, "-2147483648", -(2**31)),
        ("float", np.float32, "-9999", -9999),
        ("float-nan", np.float32, "nan", np.nan),
        ("float-least", np.float32, "-3.4028234663852886e+38", np.finfo(np.float32).min),
        ("float-about-least", np.float32, "-3.4e+38", np.finfo(np.float32).min),
        ("float-greatest", np.float32, " 3.40282347e+38\0", np.finfo(np.float32).max),
        ("half", np.float16, "-9999", np.float16(-9999)),
        ("double-text", np.float32, "-9999.000000", -9999),
    ]
    for name, dtype, text, value in values:
        pixels = np.where(shown, grey.astype(np.float64) * 3 - 60, 0).astype(dtype)
        pixels[~shown] = value
        path = _written(folder / f"{name}.tif", pixels, text)
        scaled = stretched(pixels[..., None].astype(float), seen=shown)[..., 0]
        yield Masked(path, with_alpha(np.where(shown, scaled, 0), shown), tolerance=1)
    wide = np.where(shown, grey.astype(np.uint16) * 256 + 1, 0).astype(np.uint16)
    yield Masked(
        _written(folder / "uint16.tif", wide, "0"), with_alpha(stretched(wide[..., None], seen=shown)[..., 0], shown)
    )
    low = (grey >> 4).astype(np.uint8)
    path = tiffs.write(folder / "bits.tif", low[..., None], bits=4, more={NODATA: ("B", b"3\0")})
    yield Masked(path, with_alpha(low * 17, low != 3))
    path = _written(folder / "white.tif", grey, "9", photometric="miniswhite", compression="lzw")
    yield Masked(path, with_alpha(255 - grey, grey != 9))
    table = (np.random.default_rng(1).permutation(256) // 2).astype(np.uint16) * 257  # two entries for each colour
    path = _written(
        folder / "palette.tif", grey, "9", photometric="palette", colormap=np.stack([table, table, 65535 - table])
    )
    shades = np.stack([table, table, 65535 - table]) >> 8
    yield Masked(path, with_alpha(np.moveaxis(shades[:, grey], 0, 2), grey != 9))
    for name, text in (
        ("no-number", "none"),
        ("beyond", "-9999"),
        ("fraction", "0.5"),
        ("empty", " "),
        ("infinite", "inf"),
    ):
        yield Masked(_written(folder / f"{name}.tif", colour, text, photometric="rgb"), colour)


def _written(path: Path, pixels: Pixels, nodata: str, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, extratags=[(NODATA, "s", 0, nodata, True)], **options)
    return path
