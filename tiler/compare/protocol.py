"""Messages between the child that compares a pyramid with its source, and its parent: see pipeline.sandbox.lines.

The parent writes one Job. The child writes any number of Progress and Differs, then one Compared. At any point, it may
end with one Failed instead.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec
from tiler.job import Failed

MOST_DIFFERING = 20
"""Most differing tiles that are reported one by one; further ones are only counted."""


class Job(NamedTuple):
    """One pyramid to compare.

    Parameters
    ----------
    source: path of the stored source.
    build: folder of the pyramid's files.
    scratch: existing folder for libvips' temporary files.
    width, height, tile_size: of the pyramid, in pixels.
    tile_format: of its tiles, a value of pipeline.pyramids.geometry.Format.
    quality: of its JPEG or WebP tiles.
    page: of the source, from 0.
    stretch: how samples become 8 bits: see tiler.job.Job.
    channels: the channels that the pyramid is composed of, by their numbers; none if it shows a page as it is.
    is_damaged: whether the pyramid shows only what could be decoded of a damaged source.
    most: most tiles to compare, spread over the finest level; 0 for all.
    min_libvips, max_pixels, pixels_per_byte, memory_bytes, untrusted, archive_bytes: as in tiler.job.Job.
    """

    source: str
    build: str
    scratch: str
    width: int
    height: int
    tile_size: int
    tile_format: str
    quality: int
    page: int
    most: int
    min_libvips: str
    max_pixels: int
    pixels_per_byte: int
    is_damaged: bool = False
    stretch: str = ""
    channels: tuple[str, ...] = ()
    memory_bytes: int | None = None
    untrusted: tuple[str, ...] = ()
    archive_bytes: int | None = None


class Progress(NamedTuple):
    """Rows of tiles that were decoded, of how many."""

    done: int
    total: int


class Differs(NamedTuple):
    """A tile of the finest level does not match its source.

    Parameters
    ----------
    levels: by how many of 255 levels the worst block differs; -1 if the tile cannot be read.
    """

    x: int
    y: int
    levels: float


class Compared(NamedTuple):
    """The result, once the whole source was decoded.

    Parameters
    ----------
    tiles, differing: tiles compared, and how many of them differ.
    missing: what could not be decoded of a damaged source; empty if nothing.
    missing_pixels: how many pixels that are.
    """

    tiles: int
    differing: int
    missing: str = ""
    missing_pixels: int = 0


Report = Progress | Differs | Compared | Failed

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"progress": Progress, "differs": Differs, "compared": Compared, "failed": Failed})
