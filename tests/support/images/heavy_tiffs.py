"""TIFFs whose layers, XMP or other entries are far larger than their picture."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from tests.support.images import tiffs
from tests.support.images.pictures import Pixels

XMP, IPTC, RESOURCES, LAYERS, UNKNOWN, DESCRIPTION = 700, 33723, 34377, 37724, 65000, 270


def write(path: Path, pixels: Pixels, tags: Sequence[int], size: int) -> Path:
    """Write a picture in strips with entries of `size` zeros each, which take no disk."""
    tiffs.write(path, pixels, rows=16, more={tag: ("B", [0] * 8) for tag in tags if tag not in {273, 279}})
    data = bytearray(path.read_bytes())
    end = len(data)
    (count,) = struct.unpack_from("<H", data, 8)
    for at in range(10, 10 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, at)
        if tag in tags:
            struct.pack_into("<HHII", data, at, tag, 2 if tag == DESCRIPTION else 7, size, end)
            end += size
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(end)
    return path
