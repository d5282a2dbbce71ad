"""What a child says and leaves, held to what it may: a file may have taken it over.

A build's files are served to everyone. The index says how many bytes the gateway reads at once, and where; so nothing
is published whose entries do not fit their files.
"""

from __future__ import annotations

import stat
from itertools import islice
from pathlib import Path

from pipeline.errors import DATASET_CODES
from pipeline.formats.header import Header
from pipeline.formats.probe import MOST_NUMBER, MOST_WORDS, is_plausible
from pipeline.pyramids import (
    DESCRIPTION,
    FILES,
    FULL,
    INDEX,
    PARTS,
    PREVIEW,
    PREVIEW_EDGE,
    PREVIEW_THUMBNAIL,
    SMALL_FILE,
    THUMBNAIL,
    Format,
    Geometry,
    Index,
    index_bytes,
)
from pipeline.texts import is_unicode
from tiler.job import Built, Failed, Job, Opened, Previewed, Progress, Report

MOST_FILES = 200
"""In a job's scratch: a build has ten, and libvips a few for what it spills."""

TILE_PIXEL, TILE_SPARE = 8, 64 << 10
"""Bytes a pixel, and besides, of the largest tile: twice what noise with alpha takes as PNG."""


class Untrue(ValueError):
    """Raised where a child says what cannot be, or leaves what is not to be served."""


def require_plausible(report: Report, job: Job) -> None:
    """Raise Untrue where a report of a job's child cannot be true."""
    if not _is_plausible(report, job):
        raise Untrue(f"the child said what cannot be: {str(report)[:200]}")


def require_sound(scratch: Path, built: Built, tile_size: int) -> None:
    """Raise Untrue where what a child has left is not the build that it says, or would harm who serves it."""
    sizes = {name: _size(scratch, name) for name in FILES}
    if sum(sizes.values()) != built.size:
        raise Untrue(f"the child's files have {sum(sizes.values())} bytes, and it said {built.size}")
    for name in (FULL, THUMBNAIL, DESCRIPTION):
        if sizes[name] > SMALL_FILE:
            raise Untrue(f"the child left a {name} of {sizes[name]} bytes")
    geometry = Geometry(built.width, built.height, tile_size)
    if sizes[INDEX] != index_bytes(geometry.tile_count, geometry.edge_count):
        raise Untrue(f"the child left a {INDEX} of {sizes[INDEX]} bytes")
    try:
        index = Index((scratch / INDEX).read_bytes())
    except ValueError as error:
        raise Untrue(f"the child left a {INDEX} that is none: {error}") from error
    longest = tile_size**2 * TILE_PIXEL + TILE_SPARE
    for position in range(len(index)):
        entry = index.entry(position)
        part = 0 if position < geometry.tile_count else 1
        if entry.part != part or not 0 < entry.length <= longest or entry.offset + entry.length > sizes[PARTS[part]]:
            raise Untrue(f"the child left a {INDEX} that leads astray: {entry}")


def require_preview(scratch: Path) -> None:
    """Raise Untrue where a child's preview or its thumbnail is no file, or too large a one."""
    for name in (PREVIEW_THUMBNAIL, PREVIEW):
        if _size(scratch, name) > SMALL_FILE:
            raise Untrue(f"the child left a {name} of more than {SMALL_FILE} bytes")


def require_few_files(scratch: Path) -> None:
    """Raise Untrue where a child fills its scratch with files: they take room that no limit counts."""
    if sum(1 for _ in islice(scratch.iterdir(), MOST_FILES + 1)) > MOST_FILES:
        raise Untrue(f"the child made more than {MOST_FILES} files")


def _size(scratch: Path, name: str) -> int:
    """Give a file's bytes. Raises Untrue where there is none, or a link: what that leads to is not its to publish."""
    try:
        found = (scratch / name).lstat()
    except FileNotFoundError as error:
        raise Untrue(f"the child left no {name}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Untrue(f"the child left no plain file as {name}")
    return found.st_size


def _is_plausible(report: Report, job: Job) -> bool:
    match report:
        case Opened():
            return is_plausible(Header(*report))
        case Previewed():
            return all(0 < edge <= PREVIEW_EDGE for edge in report)
        case Progress():
            counts = 0 <= report.tiles_done <= MOST_NUMBER and 0 <= report.tiles_total <= MOST_NUMBER
            return counts and 0 <= report.percent <= 100
        case Failed():
            is_sentence = len(report.message) <= MOST_WORDS and is_unicode(report.message)
            return report.code in DATASET_CODES and is_sentence
        case Built():
            return _is_of_this_job(report, job)


def _is_of_this_job(built: Built, job: Job) -> bool:
    wanted = [job.tile_format] if job.tile_format else list(Format)
    return (
        built.extension in wanted
        and all(0 < edge <= MOST_NUMBER for edge in (built.width, built.height))
        and built.tile_count == Geometry(built.width, built.height, job.tile_size).tile_count
    )
