"""TIFFs with an alpha that libvips reads wrongly, straight or multiplied into the colours, in every layout."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile

from tests.support.images import pictures, tiffs
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

WIDTH, HEIGHT = 120, 88
EDGE, ROWS = 32, 24
"""Of a tile, and rows of a strip: neither fits the picture."""

OPAQUE = "cmyk.tif"
NEAR = 2
"""Most that a sample may be beside what was drawn, after being rounded twice."""

MOST = {"uint8": 255, "uint16": 65535, "int16": 32767, "uint32": 2**32 - 1, "float32": 1}
MEANINGS = {"unassalpha": "straight", "assocalpha": "multiplied"}

CUTS: list[dict[str, Any]] = [{"rowsperstrip": ROWS}, {"tile": (EDGE, EDGE)}]
LAYOUTS: list[dict[str, Any]] = [
    {"planarconfig": planes, "compression": compression, **cut}
    for compression, planes, cut in product((None, "lzw", "zlib", "zstd"), ("contig", "separate"), CUTS)
]


CODECS: list[tuple[int, Callable[[bytes], bytes]]] = [
    (1, bytes),
    (8, zlib.compress),
    (5, lambda data: bytes(imagecodecs.lzw_encode(data))),
]
"""Compressions of the palettes, and their encoders."""


class Case(NamedTuple):
    """A file, and the RGBA or RGB pixels that it must become.

    Parameters
    ----------
    inks: whether the colours are CMYK: they have to be those of the file OPAQUE, and only alpha is given.
    """

    path: Path
    pixels: Pixels
    inks: bool = False


def written(folder: Path) -> Iterator[Case]:
    """Write OPAQUE, which is not given, and the others."""
    drawn, alpha = pictures.scene(WIDTH, HEIGHT, bands=4) / 255, np.empty((HEIGHT, WIDTH, 1))
    alpha[:] = np.linspace(0.3, 1, WIDTH)[None, :, None]
    tifffile.imwrite(folder / OPAQUE, _samples(drawn, "uint16"), photometric="separated", metadata=None)
    for dtype, (number, layout), meaning in product(("uint8", "uint16"), enumerate(LAYOUTS), MEANINGS):
        path = folder / f"cmyk-{dtype}-{number}-{MEANINGS[meaning]}.tif"
        shared = drawn * alpha if meaning == "assocalpha" else drawn
        _write(path, _samples(np.concatenate([shared, alpha], axis=2), dtype), "separated", [meaning], layout)
        yield Case(path, np.floor(alpha * 255.999).astype(np.uint8), inks=True)
    kinds = product(("int16", "uint32", "float32", "uint16"), (1, 3), ([], ["unspecified"]))
    for number, ((dtype, bands, more), layout) in enumerate(zip(kinds, islice(cycle(LAYOUTS), 16), strict=True)):
        # The bands after the alpha are never divided.
        rest = [alpha * 0.9] * len(more)
        stored = _samples(np.concatenate([drawn[..., :bands] * alpha, alpha, *rest], axis=2), dtype)
        path = folder / f"{dtype}-{bands + 1 + len(more)}-{number}.tif"
        _write(path, stored, "rgb" if bands == 3 else "minisblack", ["assocalpha", *more], layout)
        straight = stored.astype(float)
        straight[..., :bands] *= MOST[dtype] / straight[..., bands : bands + 1]
        yield Case(path, _shown(straight, dtype))

    yield from _palettes(folder)


def _palettes(folder: Path) -> Iterator[Case]:
    """Write palettes with an alpha, which count as one sample: what decoders make of them has four."""
    palettes = pictures.scene(256, 1)[0] // 2
    ways = product((1, 2), (False, True), ({"rows": ROWS}, {"tile": EDGE}), CODECS)
    for number, ((meaning, planar, cut, (compression, encode)), bits) in enumerate(zip(ways, cycle((8, 4, 1, 8, 6)))):
        most, palette = (1 << bits) - 1, palettes[:: 256 >> bits]
        indices = pictures.scene(WIDTH, HEIGHT)[..., :1] >> (8 - bits)
        stored_alpha = np.rint(np.linspace(0.6, 1, WIDTH) * most).astype(np.uint8)[None, :, None]
        stored = np.concatenate([indices, np.broadcast_to(stored_alpha, indices.shape)], axis=2)
        alpha = np.rint(stored[..., 1:] * (255 / most))
        straight = palette[indices[..., 0]].astype(float)
        divided = np.rint(straight * 255 / alpha)
        path = folder / f"palette-{number}.tif"
        options: dict[str, Any] = {"compression": compression, "encode": encode, **cut}
        colours = (palette.T.astype(int) * 257).reshape(-1).tolist()
        tiffs.write(
            path, stored, photometric=3, bits=bits % 8, planar=planar, extra=[meaning], palette=colours, **options
        )
        shown = divided if meaning == 1 else straight
        yield Case(path, np.concatenate([shown, alpha], axis=2).astype(np.uint8))


def _write(path: Path, stored: Any, photometric: str, extra: list[str], layout: dict[str, Any]) -> None:
    planes = stored.transpose(2, 0, 1) if layout["planarconfig"] == "separate" else stored
    tifffile.imwrite(path, planes, photometric=photometric, extrasamples=extra, metadata=None, **layout)


def _samples(shares: Any, dtype: str) -> Any:
    return (shares * MOST[dtype] if dtype == "float32" else np.rint(shares * MOST[dtype])).astype(dtype)


def _shown(straight: Any, dtype: str) -> Pixels:
    """Pixels of divided samples: three bands or more are colours, and one more is alpha if its samples can be that."""
    bands = 1 if straight.shape[2] < 3 else 3
    is_transparent = straight.shape[2] == bands + 1 and dtype in {"float32", "uint16"}
    counted = straight[..., :bands].clip(None, MOST[dtype])
    colours = stretched(counted)
    alpha = [np.floor(straight[..., bands:] / MOST[dtype] * 255.999).astype(np.uint8)] if is_transparent else []
    return np.concatenate([colours, *alpha], axis=2)
