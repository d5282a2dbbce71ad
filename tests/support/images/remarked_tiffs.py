"""Sound TIFFs on whose directories libtiff remarks, as common programs write them: others read them without a word."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import tifffile

from tests.support.images import pictures, tiffs
from tests.support.images.damaged_tiffs import entry
from tests.support.images.pictures import Pixels

EDGE = 96
LZW: dict[str, Any] = {"compression": 5, "encode": imagecodecs.lzw_encode, "rows": 40}


def files(folder: Path) -> Iterator[tuple[Path, Pixels]]:
    """Write each, and give its pixels."""
    rgb, rgba = pictures.scene(EDGE, EDGE), pictures.scene(EDGE, EDGE, bands=4)
    for name, options in (("lzw", LZW), ("plain", {"rows": 40})):
        # OpenCV writes no ExtraSamples.
        yield tiffs.write(folder / f"rgba-{name}.tif", rgba, **options), rgba
        yield tiffs.write(folder / f"grey-of-three-{name}.tif", rgb, photometric=tiffs.BLACK_IS_ZERO, **options), rgb
        path = tiffs.write(folder / f"no-nul-{name}.tif", rgb, more={270: ("B", list(b"scan 17"))}, **options)
        yield entry(path, 270, 0, ord("s"), kind=2), rgb
        path = tiffs.write(
            folder / f"two-names-{name}.tif", rgb, more={315: ("B", list(b"A. One\0B. Two\0"))}, **options
        )
        yield entry(path, 315, 0, ord("A"), kind=2), rgb
        yield tiffs.write(folder / f"page-number-{name}.tif", rgb, more={297: ("H", [0])}, **options), rgb
        yield unsorted(tiffs.write(folder / f"unsorted-{name}.tif", rgb, **options)), rgb
    # tifffile writes two descriptions.
    for compression in ("lzw", "none"):
        path = folder / f"described-{compression}.tif"
        tifffile.imwrite(path, rgb, photometric="rgb", description="scan 1", compression=compression)
        yield path, rgb


def unsorted(path: Path) -> Path:
    """Put the first entry of a little-endian TIFF's directory behind the others."""
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    first, end = at + 2, at + 2 + 12 * count
    data[first:end] = data[first + 12 : end] + data[first : first + 12]
    path.write_bytes(data)
    return path


def guessed(folder: Path) -> Iterator[Path]:
    """Write TIFFs that contradict themselves on how their pixels are stored, so that a decoder has to guess."""
    rgb = pictures.scene(EDGE, EDGE)
    for name, tag, values in (("lengths", 279, [5, 5, 5]), ("samples", 277, [2])):
        yield tiffs.write(folder / f"guessed-{name}.tif", rgb, more={tag: ("H", values)}, **LZW)
