"""What the child that compares a pyramid with its source and its parent say to each other: see pipeline.sandbox.lines.

The parent writes one Job. The child writes any number of Progress and Differs, then one Compared; or, at any point, one
Failed.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec
from tiler.job import Failed

MOST_DIFFERING = 20
"""Tiles that differ and are named; beyond them they are counted."""


class Job(NamedTuple):
    """One pyramid to compare.

    Parameters
    ----------
    source: path of the stored source.
    build: folder of the pyramid's files.
    scratch: existing folder for what libvips spills.
    width, height, tile_size: of the pyramid, in pixels.
    tile_format: of its tiles, a value of pipeline.pyramids.geometry.Format.
    quality: of its JPEG or WebP tiles.
    page: of the source, from 0.
    most: tiles to compare at most, spread over the finest level; 0 for all.
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
    memory_bytes: int | None = None
    untrusted: tuple[str, ...] = ()


class Progress(NamedTuple):
    """Rows of tiles that were decoded."""

    done: int
    total: int


class Differs(NamedTuple):
    """A tile of the finest level is not what its source gives.

    Parameters
    ----------
    levels: by which the worst part of it differs in the mean, of 255; -1 where it cannot be read.
    """

    x: int
    y: int
    levels: float


class Compared(NamedTuple):
    """The whole source was decoded; so many tiles were compared, and so many of them differ."""

    tiles: int
    differing: int


Report = Progress | Differs | Compared | Failed

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"progress": Progress, "differs": Differs, "compared": Compared, "failed": Failed})
