"""Compare the finest level of a pyramid with the pixels of its source.

The source's pixels are encoded in the same way as the stored tile, so that both have the losses of JPEG or WebP.
Encoders of different releases differ by one or two of 255 levels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyvips

from pipeline.errors import StageError
from pipeline.pyramids import INDEX, PARTS, Format, Geometry, Index
from tiler.build import WEBP_EFFORT, decode_tile
from tiler.compare.protocol import MOST_DIFFERING, Compared, Differs, Job, Progress
from tiler.decode import ERRORS, Picture

TOLERANCE = 8.0
"""Most by which the mean of a block may differ, in levels of 255. A black block passes only where the image is almost
black."""

BLOCK = 16
"""Edge of a block in pixels: the smallest tile of a TIFF, and the unit of JPEG with subsampled colours."""

UNREADABLE = -1.0

_STEP = 8
"""Rows that are decoded at once: the rows of libjpeg's blocks."""


def compare(picture: Picture, job: Job, tell: Callable[[Progress | Differs], None]) -> Compared:
    """Decode the whole image, and compare the requested tiles.

    Parameters
    ----------
    picture: of the job's source.
    tell: called with progress and differences.

    Raises
    ------
    StageError: image_corrupt, if source and pyramid have different sizes.
    pyvips.Error: if the source cannot be decoded.
    """
    image = picture.image
    if (image.width, image.height) != (job.width, job.height):
        found = f"{image.width} x {image.height}"
        raise StageError("image_corrupt", f"Its original has {found} pixels, not {job.width} x {job.height}.")
    geometry = Geometry(job.width, job.height, job.tile_size)
    level = geometry.level(geometry.max_level)
    stored = _Stored(job, geometry)
    step = 1 if not job.most else max(1, -(-level.columns * level.rows // job.most))
    compared = differing = 0
    rows = _Rows(picture)
    for y in range(level.rows):
        # Decode rows without a tile to compare as well, to find damage in them.
        strip = rows.read(min(job.tile_size, job.height - y * job.tile_size))
        for x in range(-(y * level.columns) % step, level.columns, step):
            left = x * job.tile_size
            fresh = strip.crop(left, 0, min(job.tile_size, job.width - left), strip.height)
            levels = stored.difference(x, y, fresh)
            compared += 1
            if levels == UNREADABLE or levels > TOLERANCE:
                differing += 1
                if differing <= MOST_DIFFERING:
                    tell(Differs(x, y, round(levels, 1)))
        tell(Progress(y + 1, level.rows))
    if picture.missing is None:
        return Compared(compared, differing)
    return Compared(compared, differing, picture.missing.what, picture.missing.pixels())


class _Rows:
    """Reads a picture from top to bottom.

    A single region reads all rows. After a call that evaluates a whole image, libvips drops the rows that its decoders
    hold, and the next call might need them: of a strip of a TIFF, or of a row of a JPEG's blocks.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._region = pyvips.Region.new(picture.image)
        self._top = 0

    def read(self, count: int) -> pyvips.Image:
        """Decode the next rows into memory; raises as Reader.heeded."""
        image = self._picture.image
        width, height, bands, kind = image.width, image.height, image.bands, image.interpretation
        first, self._top = self._top, self._top + count
        pixels = bytearray()
        with self._picture.heeded(to_end=self._top == height):
            for top in range(first, self._top, _STEP):
                pixels += self._region.fetch(0, top, width, min(_STEP, self._top - top))
        return pyvips.Image.new_from_memory(pixels, width, count, bands, "uchar").copy(interpretation=kind)


class _Stored:
    """The stored tiles."""

    def __init__(self, job: Job, geometry: Geometry) -> None:
        self._job = job
        self._geometry = geometry
        self._format = Format(job.tile_format)
        build = Path(job.build)
        self._index = Index((build / INDEX).read_bytes())
        self._archive: BinaryIO = (build / PARTS[0]).open("rb")

    def difference(self, x: int, y: int, fresh: pyvips.Image) -> float:
        """Return by how many levels the worst block of a tile differs; UNREADABLE if the tile cannot be read."""
        entry = self._index.entry(self._geometry.deep_zoom_position(self._geometry.max_level, x, y))
        try:
            data = os.pread(self._archive.fileno(), entry.length, entry.offset)
            tile = decode_tile(data, self._format)
            if (tile.width, tile.height) != (fresh.width, fresh.height):
                return UNREADABLE
            return _worst(_seen(tile), _seen(self._encoded(fresh)))
        except (*ERRORS, OverflowError, OSError):
            return UNREADABLE

    def _encoded(self, fresh: pyvips.Image) -> pyvips.Image:
        match self._format:
            case Format.PNG:
                return fresh
            case Format.JPEG:
                return decode_tile(fresh.jpegsave_buffer(Q=self._job.quality, keep="none"), Format.JPEG)
            case Format.WEBP:
                data = fresh.webpsave_buffer(Q=self._job.quality, effort=WEBP_EFFORT, keep="none")
                return decode_tile(data, Format.WEBP)


def _seen(tile: pyvips.Image) -> pyvips.Image:
    """Return a tile in four bands, with colours multiplied by alpha: hidden colours do not count."""
    if not tile.hasalpha():
        tile = tile.bandjoin(255)
    return tile.premultiply()


def _worst(one: pyvips.Image, other: pyvips.Image) -> float:
    difference = (one - other).abs()
    # Repeat the last row and column to fill a block.
    width, height = (-(-edge // BLOCK) * BLOCK for edge in (difference.width, difference.height))
    blocks = difference.embed(0, 0, width, height, extend="copy").shrink(BLOCK, BLOCK)
    return float(blocks.max())
