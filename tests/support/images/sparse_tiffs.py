"""TIFFs of which strips or tiles are left out, as GDAL (SPARSE_OK), QuPath and ASAP write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from tests.support.images import pictures, tiffs
from tests.support.images.pictures import Pixels

WIDTH, HEIGHT, TILE, ROWS = 150, 100, 64, 32
"""Three by two tiles, and four strips of which the last has four rows."""

NODATA = 42113


class Sparse(NamedTuple):
    """A file, what it shows as RGB or RGBA, and by how much a decoder of its compression may differ."""

    path: Path
    pixels: Pixels
    tolerance: int = 0


def entries(file: tifffile.TiffFile, page: int) -> tifffile.TiffTags:
    """The entries of a page, of which tifffile may have read a part only."""
    return file.pages[page].aspage().tags


def leave_out(path: Path, numbers: Iterable[int] | None = None, page: int = 0) -> None:
    """Leave out strips or tiles of a written file, all if none are given."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = entries(file, page)
        places = tags.get(324) or tags[273], tags.get(325) or tags[279]
        count = places[0].count
        chosen = set(range(count) if numbers is None else numbers)
        for tag in places:
            size = {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
            for number in chosen:
                at = tag.valueoffset + number * size
                data[at : at + size] = bytes(size)
    path.write_bytes(data)


def _shown(path: Path) -> Pixels:
    """What tifffile decodes: it fills what is left out with nodata, or zero."""
    return np.asarray(tifffile.imread(path, key=0))


def _rgb(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def files(folder: Path) -> Iterator[Sparse]:
    """Write a file of each kind."""
    colour, grey = pictures.scene(WIDTH, HEIGHT), pictures.scene(WIDTH, HEIGHT, bands=1)[..., 0]
    layouts: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
        "tiles": ({"tile": (TILE, TILE)}, (0, 4)),
        "strips": ({"rowsperstrip": ROWS}, (1,)),
        "last": ({"rowsperstrip": ROWS}, (3,)),
        "rest": ({"rowsperstrip": ROWS}, (0, 1, 2)),
        "all": ({"tile": (TILE, TILE)}, tuple(range(6))),
    }
    for compression in ("none", "lzw", "deflate", "zstd", "packbits", "jpeg", "webp"):
        for layout, (options, numbers) in layouts.items():
            path = folder / f"{compression}-{layout}.tif"
            how: dict[str, Any] = {} if compression == "none" else {"compression": compression}
            if compression in {"jpeg", "webp"}:
                how["compressionargs"] = {"level": 95} if compression == "jpeg" else {"lossless": True}
            tifffile.imwrite(path, colour, photometric="rgb", metadata=None, **options, **how)
            leave_out(path, numbers)
            yield Sparse(path, _shown(path), 3 if compression == "jpeg" else 0)
    yield from _odd(folder, colour, grey)


def _odd(folder: Path, colour: Pixels, grey: Pixels) -> Iterator[Sparse]:
    tile: dict[str, Any] = {"tile": (TILE, TILE), "metadata": None}
    path = folder / "ycbcr-jpeg.tif"
    tifffile.imwrite(path, colour, photometric="ycbcr", compression="jpeg", subsampling=(2, 2), **tile)
    leave_out(path, (2,))
    yield Sparse(path, _shown(path), 24)
    path = folder / "grey-jpeg.tif"
    tifffile.imwrite(path, grey, compression="jpeg", **tile)
    leave_out(path, (2,))
    yield Sparse(path, _rgb(_shown(path)), 3)
    path = folder / "predictor.tif"
    tifffile.imwrite(path, colour, photometric="rgb", compression="lzw", predictor=True, bigtiff=True, **tile)
    leave_out(path, (5,))
    yield Sparse(path, _shown(path))
    path = folder / "wide.tif"
    tifffile.imwrite(path, grey.astype(np.uint16) << 8 | 7, compression="lzw", byteorder=">", **tile)
    leave_out(path, (1,))
    yield Sparse(path, _rgb((_shown(path) >> 8).astype(np.uint8)))
    for compression in ("lzw", "deflate", "none"):
        path = folder / f"planes-{compression}.tif"
        how: dict[str, Any] = {} if compression == "none" else {"compression": compression}
        tifffile.imwrite(path, np.moveaxis(colour, 2, 0), photometric="rgb", planarconfig="separate", **tile, **how)
        leave_out(path, (0, 8, 5, 11, 17))
        yield Sparse(path, np.moveaxis(_shown(path), 0, 2))
    path = folder / "alpha.tif"
    tifffile.imwrite(
        path, pictures.scene(WIDTH, HEIGHT, bands=4), photometric="rgb", extrasamples=["unassalpha"],
        compression="lzw", **tile,
    )  # fmt: skip
    leave_out(path, (3,))
    yield Sparse(path, _shown(path))
    path = folder / "white-is-zero.tif"
    tifffile.imwrite(path, grey, photometric="miniswhite", compression="packbits", rowsperstrip=ROWS, metadata=None)
    leave_out(path, (0,))
    yield Sparse(path, _rgb(255 - _shown(path)))
    path = folder / "palette.tif"
    table = np.random.default_rng(1).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    tifffile.imwrite(path, grey, photometric="palette", colormap=table, compression="lzw", **tile)
    leave_out(path, (1,))
    yield Sparse(path, np.moveaxis((table >> 8).astype(np.uint8)[:, _shown(path)], 0, 2))
    path = folder / "bilevel.tif"
    bilevel = np.where(grey > 100, 255, 0).astype(np.uint8)
    pictures.save(
        bilevel[..., None], path, "b-w", compression="ccittfax4", bitdepth=1, tile=True, tile_width=64, tile_height=64
    )
    with tifffile.TiffFile(path) as file:
        white_is_zero = file.pages.first.photometric == 0
    leave_out(path, (4,))
    expected = bilevel.copy()
    expected[64:, 64:128] = 255 if white_is_zero else 0
    yield Sparse(path, _rgb(expected))
    path = folder / "nodata.tif"
    tifffile.imwrite(path, grey, compression="lzw", extratags=[(NODATA, "s", 0, "77", True)], **tile)
    leave_out(path, (0,))
    shown = np.where(grey == 77, 77, _shown(path)).astype(np.uint8)
    yield Sparse(path, np.dstack([_rgb(shown), np.where(shown == 77, 0, 255)]).astype(np.uint8))
    path = tiffs.write(folder / "one-strip.tif", grey[..., None])
    leave_out(path)
    yield Sparse(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
