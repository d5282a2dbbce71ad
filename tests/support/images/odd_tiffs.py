"""TIFFs whose numbers stand for colours that nobody shows here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.formats.tiff.colours import LACKING
from tests.support.images import changed_tiffs, pictures, tiffs

EDGE = 64

RAW = {32803, 34892}
"""Photometric interpretations of raw photographs, which are called that."""


def unshown(folder: Path) -> Iterator[tuple[Path, str]]:
    """Write one of each kind, and give what it has to be called."""
    for photometric, name in (LACKING | {99: "of an unknown kind"}).items():
        for bands in (1, 3) if photometric not in RAW else ():
            pixels = pictures.scene(EDGE, EDGE, bands=bands)
            yield tiffs.write(folder / f"{photometric}-{bands}.tif", pixels, photometric=photometric), name
    cmyk = pictures.scene(EDGE, EDGE, bands=4)
    inks = "inks other than cyan, magenta, yellow and black"
    for bands in (1, 2, 3):
        path = folder / f"inks-{bands}.tif"
        yield tiffs.write(path, cmyk[..., :bands], photometric=tiffs.SEPARATED), inks
    yield tiffs.write(folder / "inks.tif", cmyk, photometric=tiffs.SEPARATED, more={332: ("H", [2])}), inks
    palette = [0] * (3 << 16)
    wide = pictures.scene(EDGE, EDGE, bands=1).astype(np.uint16)
    yield tiffs.write(folder / "palette.tif", wide, photometric=tiffs.PALETTE, palette=palette), "a palette"
    for bands in (1, 2):
        path = folder / f"rgb-{bands}.tif"
        yield tiffs.write(path, cmyk[..., :bands], photometric=tiffs.RGB), "RGB with fewer than three samples"
    yield tiffs.write(folder / "white.tif", cmyk[..., :3], photometric=tiffs.WHITE_IS_ZERO), "zero as white"
    for dtype in (np.int32, np.float16):
        path = folder / f"lab-{np.dtype(dtype).name}.tif"
        yield tiffs.write(path, cmyk[..., :3].astype(dtype), photometric=8), "CIELAB"
    yield from ((path, "a volume") for path in changed_tiffs.volumes(folder))
    for name in ("uint16", "int16", "float32"):
        path = folder / f"lab-alpha-{name}.tif"
        yield tiffs.write(path, cmyk.astype(name), photometric=8, extra=[2]), "CIELAB with transparency"
