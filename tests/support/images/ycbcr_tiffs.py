"""TIFFs of YCbCr in every compression, with as many colours as pixels or fewer, together or in planes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from imagecodecs import jpeg8_encode, lzw_encode, packbits_encode, webp_encode
from PIL import Image

from tests.support.images import tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels

EDGE, CUT = 256, 128
"""Of the picture, and of its tiles; a strip has as many rows."""

JPEG, WEBP = 7, 50001
SAMPLINGS = ((1, 1), (2, 1), (2, 2), (1, 2))
"""Pixels across and down that share a colour."""

ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    1: bytes,
    5: lambda data: bytes(lzw_encode(data)),
    8: zlib.compress,
    32773: lambda data: bytes(packbits_encode(data)),
    50000: zstd_tiffs.compress,
}
"""By the compression's number: what makes no difference between pixels and other bytes."""


class Way(NamedTuple):
    """One way to store it."""

    compression: int
    sampling: tuple[int, int]
    apart: bool
    tiled: bool

    @property
    def is_read(self) -> bool:
        """Whether docs/formats.md says so."""
        coarse = self.sampling != (1, 1)
        if self.apart:
            return not coarse and self.compression in {1, 8, 50000}
        if self.compression == 1 and self.tiled:
            return self.sampling != (2, 2)
        return not coarse or self.compression not in {50000, WEBP}


WAYS = tuple(Way(*way) for way in product((*ENCODERS, JPEG, WEBP), SAMPLINGS, (False, True), (False, True)))


def colours() -> Pixels:
    """RGB in which neighbours differ little, so that colours can be shared."""
    x, y = np.meshgrid(np.arange(EDGE), np.arange(EDGE))
    return np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)


def write(path: Path, way: Way, more: dict[int, tuple[str, list[int]]] | None = None) -> Pixels:
    """Write the picture, and give the RGB pixels that it stands for, nearly."""
    stored = np.asarray(Image.fromarray(colours()).convert("YCbCr"))
    cells = list(_cells(stored, way.tiled))
    across, down = way.sampling
    if way.apart:
        planes = [[cell[..., :1] for cell in cells]]
        planes += [[cell[::down, ::across, band : band + 1] for cell in cells] for band in (1, 2)]
        parts = [_plane(cell, way.compression) for plane in planes for cell in plane]
    else:
        parts = [_together(cell, way) for cell in cells]
    encoded = iter(parts)
    cut: dict[str, Any] = {"tile": CUT} if way.tiled else {"rows": CUT}
    tags = {530: ("H", list(way.sampling))} | (more or {})
    # tiffs.write asks for them in the order in which they were made
    tiffs.write(
        path,
        stored,
        photometric=tiffs.YCBCR,
        planar=way.apart,
        compression=way.compression,
        encode=lambda _: next(encoded),
        more=tags,
        **cut,
    )
    return colours()


def changed(path: Path, way: Way, byte: int) -> Path:
    """Write the picture with one bit changed in each strip or tile: of this byte of it, negative ones from its end."""
    write(path, way)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            data[offset + byte % length] ^= 4
    path.write_bytes(data)
    return path


def _cells(stored: Pixels, tiled: bool) -> Iterator[Pixels]:
    for top in range(0, EDGE, CUT):
        for left in range(0, EDGE, CUT if tiled else EDGE):
            yield stored[top : top + CUT, left : left + (CUT if tiled else EDGE)]


def _plane(cell: Pixels, compression: int) -> bytes:
    cell = np.ascontiguousarray(cell)
    if compression == JPEG:
        return bytes(jpeg8_encode(cell[..., 0], level=98))
    if compression == WEBP:
        return bytes(webp_encode(np.repeat(cell, 3, axis=2), lossless=True))
    return ENCODERS[compression](cell.tobytes())


def _together(cell: Pixels, way: Way) -> bytes:
    if way.compression == JPEG:
        image = Image.fromarray(np.ascontiguousarray(cell), mode="YCbCr").convert("RGB")
        sampling = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440"}[way.sampling]
        options: dict[str, Any] = {"level": 98, "colorspace": "rgb", "outcolorspace": "ycbcr", "subsampling": sampling}
        return bytes(jpeg8_encode(np.asarray(image), **options))
    if way.compression == WEBP:
        return bytes(webp_encode(np.ascontiguousarray(cell), lossless=True))
    return ENCODERS[way.compression](shared(cell, way.sampling))


def shared(cell: Pixels, sampling: tuple[int, int]) -> bytes:
    """Bytes of pixels, block by block: all brightness, then the mean of its colours (TIFF 6.0, section 21)."""
    across, down = sampling
    blocks = cell.reshape(cell.shape[0] // down, down, cell.shape[1] // across, across, 3).swapaxes(1, 2)
    blocks = blocks.reshape(*blocks.shape[:2], -1, 3)
    means = np.rint(blocks[..., 1:].mean(axis=2)).astype(np.uint8)
    return np.concatenate([blocks[..., 0], means], axis=-1).tobytes()
