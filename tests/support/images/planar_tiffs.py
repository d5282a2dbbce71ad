"""TIFFs whose planes lie apart, as GDAL (INTERLEAVE=BAND), Photoshop (per channel) and tifffile write them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile

from tests.support.images import pictures, tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

WIDTH, HEIGHT = 200, 136
EDGE, ROWS = 64, 24
"""Of a tile, and rows of a strip: neither fits the picture."""

LOSS = 12
"""Most that a sample coded by JPEG may differ from what was drawn, or between two decoders."""


ENCODERS: dict[str, tuple[int, Callable[[bytes], Any]]] = {
    "none": (1, bytes),
    "lzw": (5, imagecodecs.lzw_encode),
    "packbits": (32773, imagecodecs.packbits_encode),
    "zlib": (8, zlib.compress),
    "zstd": (50000, zstd_tiffs.compress),
}
"""By name: the compression's number, and what compresses a strip or tile."""


class Case(NamedTuple):
    """What is written.

    Parameters
    ----------
    bands: of which the first three are shown, or the only colour.
    """

    compression: str
    bands: int
    dtype: str
    tiled: bool

    @property
    def name(self) -> str:
        return f"{self.compression}-{self.bands}x{self.dtype}-{'tiles' if self.tiled else 'strips'}.tif"


def cases() -> Iterator[Case]:
    """Every kind that programs write."""
    for compression, bands, dtype, tiled in product(
        ("none", "lzw", "packbits", "zlib", "zstd", "jpeg"),
        (1, 2, 3, 5, 7),
        ("uint8", "uint16", "float32", "float16"),
        (False, True),
    ):
        if compression != "jpeg" or dtype == "uint8":
            yield Case(compression, bands, dtype, tiled)


def write(path: Path, case: Case) -> Pixels:
    """Write a picture of greys side by side, and give the RGB pixels that it must become."""
    drawn = np.concatenate([pictures.scene(WIDTH, HEIGHT, bands=1) // (band + 1) for band in range(case.bands)], axis=2)
    scale = 257 if case.dtype == "uint16" else 1
    cut: dict[str, Any] = {"tile": (EDGE, EDGE)} if case.tiled else {"rowsperstrip": ROWS}
    extra = ["unspecified"] * (case.bands - 1)
    stored = (drawn.astype(case.dtype) * np.dtype(case.dtype).type(scale)).transpose(2, 0, 1)
    tifffile.imwrite(
        path,
        stored,
        photometric="minisblack",
        planarconfig="separate",
        compression=case.compression,
        extrasamples=extra,
        metadata=None,
        **cut,
    )
    shown = drawn[..., :3] if case.bands > 2 else np.repeat(drawn[..., :1], 3, axis=2)
    if case.compression == "jpeg":
        decoded: Pixels = np.asarray(tifffile.imread(path)).reshape(case.bands, HEIGHT, WIDTH).transpose(1, 2, 0)
        return decoded[..., :3] if case.bands > 2 else np.repeat(decoded[..., :1], 3, axis=2)
    if case.dtype == "uint8":
        return shown
    return stretched(shown.astype(case.dtype) * np.dtype(case.dtype).type(scale))


def premultiplied(folder: Path) -> Iterator[tuple[Path, Pixels]]:
    """Write colours or a grey multiplied by their alpha, and give the RGBA pixels that each must become."""
    drawn = pictures.scene(WIDTH, HEIGHT).astype(float) / 255
    alpha = np.broadcast_to(np.linspace(0.2, 1, WIDTH)[None, :, None], (HEIGHT, WIDTH, 1))
    for compression, bands, dtype, tiled in product(
        ("none", "lzw", "packbits", "zlib"), (1, 3), ("uint8", "uint16", "float32"), (False, True)
    ):
        colours = drawn[..., :bands]
        most = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
        exact = np.concatenate([colours * alpha, alpha], axis=2) * most
        stored = exact.astype(dtype) if dtype == "float32" else np.rint(exact).astype(dtype)
        path = folder / f"premultiplied-{compression}-{bands}x{dtype}-{'tiles' if tiled else 'strips'}.tif"
        cut: dict[str, Any] = {"tile": (EDGE, EDGE)} if tiled else {"rowsperstrip": ROWS}
        tifffile.imwrite(
            path,
            stored.transpose(2, 0, 1),
            photometric="minisblack" if bands == 1 else "rgb",
            planarconfig="separate",
            extrasamples=["assocalpha"],
            compression=compression,
            metadata=None,
            **cut,
        )
        straight = (stored[..., :bands] / stored[..., bands:].astype(float)).clip(0, 1)
        if dtype == "uint8":
            shown = np.rint((np.repeat(straight, 3, axis=2) if bands == 1 else straight) * 255).astype(np.uint8)
        else:
            shown = stretched(straight)
        yield path, np.concatenate([shown, np.rint(stored[..., bands:] / most * 255).astype(np.uint8)], axis=2)


def single(path: Path, *, compression: str, tiled: bool) -> Pixels:
    """Write one plane that is said to lie apart, as GDAL writes a single band of a profile that says so."""
    drawn = pictures.scene(WIDTH, HEIGHT, bands=1)
    number, encode = ENCODERS[compression]
    cut: dict[str, Any] = {"tile": EDGE} if tiled else {"rows": ROWS}
    tiffs.write(path, drawn, planar=True, compression=number, encode=encode, more={284: ("H", [2])}, **cut)
    return np.repeat(drawn, 3, axis=2)


def four_in_jpeg_tiles(path: Path, *, photometric: int) -> Pixels:
    """Write tiles whose JPEGs have four samples together, as GDAL does."""
    drawn = pictures.scene(2 * EDGE, 2 * EDGE, bands=4)

    def encode(data: bytes) -> bytes:
        tile = np.frombuffer(data, np.uint8).reshape(EDGE, EDGE, 4)
        return bytes(imagecodecs.jpeg8_encode(tile, level=95, colorspace="CMYK", outcolorspace="CMYK"))

    tiffs.write(path, drawn, tile=EDGE, photometric=photometric, compression=7, encode=encode, extra=[2])
    return drawn
