"""TIFFs with one changed bit in a directory, which show other pixels, and sound ones whose directories look alike."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from tests.support.images import pictures, remarked_tiffs, tiffs
from tests.support.images.damaged_tiffs import entry
from tests.support.images.pictures import Pixels
from tests.support.images.stretched import stretched

WIDTH, HEIGHT, ROWS = 96, 64, 16


def originals(folder: Path) -> Iterator[Path]:
    """Write a TIFF of each kind whose pixels depend on tags that may be missing."""
    rgb, rgba = pictures.scene(WIDTH, HEIGHT), pictures.scene(WIDTH, HEIGHT, bands=4)
    grey = pictures.scene(WIDTH, HEIGHT, bands=1)[..., 0]
    strips: dict[str, Any] = {"rowsperstrip": ROWS}
    turned = [(274, 3, 1, 6, True)]
    kinds: dict[str, tuple[Pixels, dict[str, Any]]] = {
        "predicted": (rgb, {"compression": "lzw", "predictor": 2, "software": "a program", **strips}),
        "turned": (rgb, {"compression": "lzw", "extratags": turned, **strips}),
        "deflated": (rgb, {"compression": "zlib", "predictor": 2, "tile": (32, 32)}),
        "float": ((grey / np.float32(255)).astype(np.float32), {"compression": "lzw", **strips}),
        "signed": (grey.astype(np.int16) - 100, strips),
        "wide": (grey.astype(np.uint16) * 257, strips),
        "white": (grey, {"photometric": "miniswhite", "compression": "lzw", **strips}),
        "apart": (rgb.transpose(2, 0, 1), {"planarconfig": "separate", "compression": "lzw", "tile": (32, 32)}),
        "alpha": (rgba, {"extrasamples": ["assocalpha"], "compression": "packbits", **strips}),
        "plain": (rgb, {"extratags": turned, **strips}),
    }
    for name, (pixels, options) in kinds.items():
        written = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", "resolution": (72, 72)} | options
        tifffile.imwrite(folder / f"{name}.tif", pixels, metadata=None, **written)
        yield folder / f"{name}.tif"


def flipped(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a little-endian TIFF with each bit of each tag's number changed in turn."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for number in range(count):
        place = at + 2 + 12 * number
        (tag,) = struct.unpack_from("<H", data, place)
        for bit in range(16):
            changed = bytearray(data)
            struct.pack_into("<H", changed, place, tag ^ 1 << bit)
            yield f"{tag}-{tag ^ 1 << bit}", bytes(changed)


SOUND = {("alpha", "338-339"), ("signed", "339-338")}
"""Changes that make another sound entry: one value of SampleFormat may be for all samples, and ExtraSamples may have a
value too many."""

MOST_TOLD = (
    *(("predicted", 317, tag) for tag in (316, 285, 309, 61, 33085)),
    *(("turned", 274, tag) for tag in (272, 275, 258)),
    *(("float", 339, tag) for tag in (337, 343)),
    *(("wide", 258, tag) for tag in (266, 274, 256)),
    ("white", 258, 274),
    ("alpha", 338, 342),
)
"""Changes to post: the file, the tag, and what its number becomes."""


def changed(folder: Path) -> Iterator[Path]:
    """Write TIFFs of which each would be shown with other pixels than it has."""
    for path in originals(folder):
        found = dict(flipped(path.read_bytes()))
        for name, tag, other in MOST_TOLD:
            if name == path.stem:
                made = folder / f"{name}-{tag}-{other}.tif"
                made.write_bytes(found[f"{tag}-{other}"])
                yield made
    # A width of 64 instead of 96 pixels, in strips and tiles; a height of 32 instead of 96
    rgb = pictures.scene(WIDTH, WIDTH)
    cuts: dict[str, Any] = {"strips": {"rows": ROWS}, "tiles": {"tile": 32}, "one": {"rows": 0}}
    for name, cut in cuts.items():
        yield entry(tiffs.write(folder / f"narrower-{name}.tif", rgb, **cut), 256, 0, 64)
    yield entry(tiffs.write(folder / "lower.tif", rgb, rows=ROWS), 257, 0, 32)
    yield entry(tiffs.write(folder / "lower-one.tif", rgb), 257, 0, 32)
    yield tiffs.write(folder / "texts.tif", rgb, more={305: ("H", [1, 2, 3])})


def sound(folder: Path) -> Iterator[tuple[Path, Pixels]]:
    """Write TIFFs with odd but harmless directories, and give their pixels."""
    rgb = pictures.scene(WIDTH, HEIGHT)
    private = {65000: ("H", [5]), 33629: ("I", [3]), 18246: ("H", [4]), 286: ("I", [7]), 33085: ("I", [70000])}
    path = tiffs.write(folder / "private.tif", rgb, rows=ROWS, more=private)
    yield remarked_tiffs.unsorted(path), rgb
    bare = {284: ("H", []), 339: ("H", []), 286: ("I", [1])}
    options: dict[str, Any] = {"compression": 5, "encode": imagecodecs.lzw_encode, "rows": ROWS}
    yield tiffs.write(folder / "bare.tif", rgb, more=bare, **options), rgb
    for name, size in (("even", 2), ("sector", 512), ("page", 4096)):

        def padded(data: bytes, size: int = size) -> bytes:
            return data.ljust(-(-len(data) // size) * size, b"\0")

        yield tiffs.write(folder / f"{name}-strips.tif", rgb, encode=padded, rows=15), rgb
        yield tiffs.write(folder / f"{name}-tiles.tif", rgb, encode=padded, tile=48), rgb
    rows = 15 * WIDTH * 3
    yield tiffs.write(folder / "filled.tif", rgb, rows=15, encode=lambda data: data.ljust(rows, b"\0")), rgb
    yield from _of_other_programs(folder, rgb)
    path = folder / "stack.tif"
    stack = np.stack([rgb[..., 0], rgb[..., 1]])
    tifffile.imwrite(path, stack, imagej=True, truncate=True)
    yield path, np.repeat(rgb[..., :1], 3, axis=2)


def _of_other_programs(folder: Path, rgb: Pixels) -> Iterator[tuple[Path, Pixels]]:
    """Write directories that are sound, with an entry whose number is near that of a tag that they lack."""
    grey, numbers = rgb[..., :1], rgb.astype(np.int16)
    greys = np.repeat(grey, 3, axis=2)
    odd: dict[str, dict[int, tuple[str, list[int]]]] = {
        "one-too-many": {338: ("H", [2])},
        "indexed": {346: ("H", [1])},
        "transfer-range": {342: ("H", [0, 255, 128, 255, 128, 255])},
        "clip-path": {343: ("B", [2])},
        "opi": {351: ("H", [2])},
        "position": {286: ("H", [2]), 284: ("H", [])},
        "long-position": {286: ("I", [2]), 284: ("H", [])},
    }
    for name, more in odd.items():
        yield tiffs.write(folder / f"{name}.tif", rgb, rows=ROWS, more={339: ("H", []), **more}), rgb
        path = folder / f"{name}-grey.tif"
        yield tiffs.write(path, grey, rows=ROWS, more={339: ("H", []), **more}), greys
    # One SampleFormat for three bands, as many programs write it
    path = tiffs.write(folder / "one-format.tif", numbers, rows=ROWS, more={339: ("H", [2])})
    yield path, stretched(numbers)
    # RowsPerStrip before SamplesPerPixel
    for rows in (2, 8):
        yield swapped(tiffs.write(folder / f"swapped-{rows}.tif", rgb, rows=rows), 277), rgb
    # A single strip that extends to the end of the file, or is padded like its sector
    narrow = rgb[:, : WIDTH - 6]
    for name, size in (("rest", narrow.size + 100), ("cluster", 24576), ("clusters", 65536)):

        def filled(data: bytes, size: int = size) -> bytes:
            return data.ljust(size, b"\0")

        yield tiffs.write(folder / f"{name}.tif", narrow, encode=filled), narrow


def swapped(path: Path, tag: int) -> Path:
    """Swap an entry of a little-endian TIFF with the next one."""
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    while struct.unpack_from("<H", data, at + 2)[0] != tag:
        at += 12
    data[at + 2 : at + 26] = data[at + 14 : at + 26] + data[at + 2 : at + 14]
    path.write_bytes(data)
    return path


def volumes(folder: Path) -> Iterator[Path]:
    """Write images with a third dimension, as tifffile does."""
    planes = np.stack([pictures.scene(WIDTH, HEIGHT)] * 3)
    for compression, depth in product((None, "zlib"), (1, 3)):
        path = folder / f"volume-{compression or 'none'}-{depth}.tif"
        options: dict[str, Any] = {"tile": (depth, 32, 32), "compression": compression, "photometric": "rgb"}
        tifffile.imwrite(path, planes, volumetric=True, **options)
        yield path
