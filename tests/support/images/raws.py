"""Raw photographs in small, as cameras and converters lay them out, and developed ones that bear the same tags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.support.images import pictures

MAKER, DNG_VERSION = 271, 50706
COLOUR_FILTERS, LINEAR_RAW = 32803, 34892

_DNG = (DNG_VERSION, 1, 4, bytes((1, 4, 0, 0)), True)


def _maker(name: str) -> tuple[Any, ...]:
    return MAKER, 2, len(name) + 1, name, True


def _sensor(photometric: int, tags: list[tuple[Any, ...]]) -> Callable[[Path], object]:
    """A stamp first, and below it what the sensor measured."""

    def make(path: Path) -> None:
        with tifffile.TiffWriter(path) as file:
            stamp = pictures.scene(64, 48)
            file.write(stamp, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
            samples = pictures.scene(300, 200, bands=3 if photometric == LINEAR_RAW else 1).astype(np.uint16)
            file.write(np.squeeze(samples), photometric=photometric, metadata=None)

    return make


def _flat(path: Path) -> None:
    """The sensor's samples in the first directory."""
    samples = pictures.scene(300, 200, bands=1)[..., 0].astype(np.uint16)
    tifffile.imwrite(path, samples, photometric=COLOUR_FILTERS, extratags=[_maker("PENTAX")], metadata=None)


def _beginning(head: bytes) -> Callable[[Path], object]:
    """A TIFF whose first bytes are a maker's own, as far as that leaves it one."""

    def make(path: Path) -> None:
        data = bytearray(pictures.save(pictures.scene(64, 48), path.with_suffix(".tif")).read_bytes())
        data[: len(head)] = head
        path.write_bytes(data)

    return make


def _cr2(path: Path) -> None:
    """A TIFF whose directory is behind the bytes by which it is known."""
    tifffile.imwrite(path, pictures.scene(64, 48), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.offset
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"CR\x02\0" + data[12:] if at >= 12 else _moved(data))


def _moved(data: bytes) -> bytes:
    """The file with another directory behind all: a copy of the first, whose values stay where they are."""
    count = int.from_bytes(data[8:10], "little")
    directory = data[8 : 10 + 12 * count + 4]
    moved = data + directory
    return moved[:4] + len(data).to_bytes(4, "little") + b"CR\x02\0" + moved[12:]


RAWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "dng": (_sensor(COLOUR_FILTERS, [_maker("Leica"), _DNG]), "(DNG)"),
    "linear dng": (_sensor(LINEAR_RAW, [_maker("Apple"), _DNG]), "(DNG)"),
    "nef": (_sensor(COLOUR_FILTERS, [_maker("NIKON CORPORATION")]), "Nikon"),
    "arw": (_sensor(COLOUR_FILTERS, [_maker("SONY")]), "Sony"),
    "pef": (_flat, "Pentax"),
    "another maker's": (_sensor(COLOUR_FILTERS, [_maker("Unheard of")]), "a raw photograph"),
    "cr2": (_cr2, "(CR2)"),
    "cr3": (_beginning(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"), "(CR3)"),
    "crw": (_beginning(b"II\x1a\0\0\0HEAPCCDR"), "(CRW)"),
    "rw2": (_beginning(b"IIU\0"), "(RW2)"),
    "orf": (_beginning(b"IIRO"), "(ORF)"),
    "raf": (_beginning(b"FUJIFILMCCD-RAW 0201"), "(RAF)"),
    "x3f": (_beginning(b"FOVb"), "(X3F)"),
    "mrw": (_beginning(b"\0MRM"), "(MRW)"),
    "iiq": (_beginning(b"II*\0\x08\0\0\0IIIITwaR"), "(IIQ)"),
}
"""How each is made, and what it is called."""


def developed(path: Path) -> pictures.Pixels:
    """A photograph saved by a converter, which keeps the camera's tags and puts a stamp below."""
    pixels = pictures.scene(300, 200)
    tags = [_maker("NIKON CORPORATION"), _DNG]
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb", subifds=1, extratags=tags, metadata=None)
        file.write(pixels[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    return pixels
