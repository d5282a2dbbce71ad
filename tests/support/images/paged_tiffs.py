"""TIFFs of several pages, as the writers of slides and scans order them: which of them is the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from tests.support.images import pictures
from tests.support.images.pictures import Pixels

LABEL, MACRO, THUMBNAIL, MAIN = (120, 90), (260, 110), (64, 48), (240, 160)
"""Sizes. A macro view has more pixels than a small picture."""

LENS = 65421
"""Hamamatsu's tag: -1 for a macro view."""

LABEL_AND_MACRO = {"reduced": 1, "macro": 9}


class Paged(NamedTuple):
    """A file, the number of its main picture, and that picture."""

    path: Path
    page: int
    pixels: Pixels


def _page(size: tuple[int, int], seed: int) -> Pixels:
    return pictures.scene(*size, seed=seed)


def _written(path: Path, main: int, *pages: tuple[Pixels, dict[str, Any]], **options: Any) -> Paged:
    with tifffile.TiffWriter(path, **options) as file:
        for pixels, how in pages:
            file.write(pixels, photometric="rgb", **{"metadata": None} | how)
    return Paged(path, main, pages[main][0])


def files(folder: Path) -> Iterator[Paged]:
    """Write a file of each kind."""
    label, macro, small, main = (_page(size, seed) for seed, size in enumerate((LABEL, MACRO, THUMBNAIL, MAIN)))
    big = np.ascontiguousarray(main.repeat(2, axis=0).repeat(2, axis=1)[:300, :250])
    plain: dict[str, Any] = {}
    yield _written(folder / "thumbnail-first.tif", 1, (small, plain), (main, plain))
    yield _written(
        folder / "largest-is-macro.tif",
        2,
        (label, {"description": "Label"}),
        (macro, {"description": "Macro"}),
        (small, plain),
    )
    aperio = "Aperio Image Library v11.2.1\r\n"
    yield _written(
        folder / "aperio.tif", 0,
        (main, {"description": aperio + "240x160 [0,0 240x160] (64x64) JPEG/RGB Q=70|AppMag = 20", "tile": (64, 64)}),
        (small, {"description": aperio + "240x160 -> 64x48 - |AppMag = 20"}),
        (label, {"description": aperio + "label 120x90", "subfiletype": 1}),
        (macro, {"description": aperio + "macro 260x110", "subfiletype": 9}),
    )  # fmt: skip
    yield _written(
        folder / "aperio-backwards.tif", 3,
        (label, {"description": aperio + "label 120x90"}), (macro, {"description": aperio + "macro 260x110"}),
        (small, plain), (main, plain), bigtiff=True,
    )  # fmt: skip
    yield _written(
        folder / "ventana.tif",
        2,
        (macro, {"description": "Label_Image"}),
        (small, {"description": "Thumbnail"}),
        (main, {"description": "level=0 mag=40"}),
    )
    yield _written(
        folder / "by-page-name.tif", 1, (macro, {"extratags": [(285, "s", 0, "Slide label", True)]}), (small, plain)
    )
    yield _written(
        folder / "hamamatsu.tif",
        1,
        (macro, {"extratags": [(LENS, "f", 1, -1.0, True)]}),
        (small, {"extratags": [(LENS, "f", 1, 20.0, True)]}),
    )
    yield _written(folder / "reduced-first.tif", 1, (big, {"subfiletype": 1}), (main, plain))
    yield _written(folder / "all-reduced.tif", 1, (small, {"subfiletype": 1}), (main, {"subfiletype": 1}))
    yield _written(folder / "scan.tif", 0, (main, plain), (_page(MAIN, 9), plain), (small, plain))
    yield _written(
        folder / "says-label.tif",
        1,
        (small, {"description": "The label of a bottle"}),
        (main, {"description": "a label on a macro lens"}),
    )
    names = {"label image": macro, "macro": label, "scan": small}
    with tifffile.TiffWriter(folder / "ome.tif", ome=True) as file:
        for name, pixels in names.items():
            file.write(pixels, photometric="rgb", metadata={"axes": "YXS", "Name": name})
    yield Paged(folder / "ome.tif", 2, small)
    # A pyramid in sub-directories, behind a label; and a mask, which has no number, behind each
    path = folder / "below.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(label, photometric="rgb", description="label", metadata=None)
        file.write(np.ones(label.shape[:2], bool), photometric="mask", subfiletype=4, metadata=None)
        file.write(main, photometric="rgb", subifds=1, metadata=None)
        file.write(main[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    yield Paged(path, 1, main)
    # The picture among the sub-directories of its thumbnail, as cameras' programs write it; and a label behind it
    path = folder / "picture-below.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(small, photometric="rgb", subifds=2, subfiletype=1, metadata=None)
        file.write(_page((80, 60), 7), photometric="rgb", subfiletype=1, compression="deflate", metadata=None)
        file.write(main, photometric="rgb", subfiletype=0, compression="deflate", metadata=None)
        file.write(label, photometric="rgb", description="label", metadata=None)
    yield Paged(path, 2, main)


def labels_only(folder: Path) -> Path:
    """Write a file of a label and a macro view."""
    label, macro = _page(LABEL, 1), _page(MACRO, 2)
    return _written(
        folder / "labels.tif", 0, (label, {"description": "label"}), (macro, {"description": "macro 260x110"})
    ).path
