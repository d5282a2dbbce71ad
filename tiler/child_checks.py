"""Check a child's reports and files before they are used, since a malicious source may have compromised the child.

A build's files are public, and the gateway reads tiles at the offsets and lengths of the index. So a build is published
only if all entries of its index lie within its files.
"""

from __future__ import annotations

import math
import stat
from itertools import islice, pairwise
from pathlib import Path

from pipeline import pixel_size
from pipeline.channel_choice import COLOUR, MOST, MOST_TEXT
from pipeline.errors import DATASET_CODES, MOST_WARNING, MOST_WARNINGS, WARNING_CODES
from pipeline.formats.probe import MOST_NUMBER, MOST_WORDS, is_plausible
from pipeline.georeference import MOST_POINTS, sane
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
from pipeline.stretch import MAX_LENGTH
from pipeline.texts import is_unicode
from tiler.job import Built, Failed, Job, Opened, Previewed, Progress, Report, place_of

MOST_FILES = 200
"""Most files in a job's scratch folder: a build has ten, and libvips a few temporary ones."""

TILE_PIXEL, TILE_SPARE = 8, 64 << 10
"""Most bytes of a tile: TILE_PIXEL for each pixel, and TILE_SPARE more. Noise with alpha as PNG takes half of that."""


class Untrue(ValueError):
    """Raised if a child sends an impossible report, or leaves files that must not be served."""


def require_plausible(report: Report, job: Job) -> None:
    """Raise Untrue if a report of a job's child is impossible."""
    if not _is_plausible(report, job):
        raise Untrue(f"the child sent an impossible report: {str(report)[:200]}")


def require_sound(scratch: Path, built: Built, tile_size: int) -> None:
    """Raise Untrue if the files do not match the child's report, or would harm the gateway."""
    sizes = {name: _size(scratch, name) for name in FILES}
    if sum(sizes.values()) != built.size:
        raise Untrue(f"the child's files have {sum(sizes.values())} bytes, not the reported {built.size}")
    for name in (FULL, THUMBNAIL, DESCRIPTION):
        if sizes[name] > SMALL_FILE:
            raise Untrue(f"the child left a {name} of {sizes[name]} bytes")
    geometry = Geometry(built.width, built.height, tile_size)
    if sizes[INDEX] != index_bytes(geometry.tile_count, geometry.edge_count):
        raise Untrue(f"the child left a {INDEX} of {sizes[INDEX]} bytes")
    try:
        index = Index((scratch / INDEX).read_bytes())
    except ValueError as error:
        raise Untrue(f"the child left an invalid {INDEX}: {error}") from error
    longest = tile_size**2 * TILE_PIXEL + TILE_SPARE
    for position in range(len(index)):
        entry = index.entry(position)
        part = 0 if position < geometry.tile_count else 1
        if entry.part != part or not 0 < entry.length <= longest or entry.offset + entry.length > sizes[PARTS[part]]:
            raise Untrue(f"the child left an invalid entry in {INDEX}: {entry}")


def require_preview(scratch: Path) -> None:
    """Raise Untrue if a child's preview or its thumbnail is not a regular file, or too large."""
    for name in (PREVIEW_THUMBNAIL, PREVIEW):
        if _size(scratch, name) > SMALL_FILE:
            raise Untrue(f"the child left a {name} of more than {SMALL_FILE} bytes")


def require_few_files(scratch: Path) -> None:
    """Raise Untrue if a child made too many files: they take disk space that no other limit counts."""
    if sum(1 for _ in islice(scratch.iterdir(), MOST_FILES + 1)) > MOST_FILES:
        raise Untrue(f"the child made more than {MOST_FILES} files")


def _size(scratch: Path, name: str) -> int:
    """Return a file's bytes. Raises Untrue if it is missing, or a link, which might publish a file of the system."""
    try:
        found = (scratch / name).lstat()
    except FileNotFoundError as error:
        raise Untrue(f"the child left no {name}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Untrue(f"the child left no regular file as {name}")
    return found.st_size


def _is_plausible(report: Report, job: Job) -> bool:
    match report:
        case Opened():
            shown = report.shown
            is_rising = all(0 <= before < after <= MOST_NUMBER for before, after in pairwise((*shown, MOST_NUMBER)))
            return is_plausible(report.header) and len(shown) <= (job.most_pages or 0) and is_rising
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
        and len(built.warnings) == len(built.warning_codes) <= MOST_WARNINGS
        and WARNING_CODES.keys() >= set(built.warning_codes)
        and len(built.stretch) <= MAX_LENGTH
        and all(map(math.isfinite, (built.low, built.high, *built.channel_lows, *built.channel_highs)))
        and _are_channels(built)
        and _is_scale(built)
        and _is_place(built)
        and all(len(message) <= MOST_WARNING and is_unicode(message) for message in built.warnings)
    )


def _is_scale(built: Built) -> bool:
    if not (built.pixel_size or built.pixel_unit):
        return True
    try:
        x, y = built.pixel_size
        pixel_size.parse(x, y, built.pixel_unit)
    except ValueError:
        return False
    return True


def _is_place(built: Built) -> bool:
    if not (built.crs or built.transform or built.geo_points):
        return True
    if len(built.geo_points) > 4 * MOST_POINTS or len(built.geo_points) % 4 or not is_unicode(built.crs):
        return False
    found = place_of(built)
    return found is not None and sane(found) == found


def _are_channels(built: Built) -> bool:
    texts = (built.channel_names, built.channel_colours, built.channel_rules)
    lengths = {len(values) for values in (built.channels, *texts, built.channel_lows, built.channel_highs)}
    return (
        len(lengths) == 1
        and len(built.channels) <= MOST
        and all(0 <= number <= MOST_NUMBER for number in built.channels)
        and all(len(name) <= MOST_TEXT and is_unicode(name) for name in built.channel_names)
        and all(COLOUR.fullmatch(colour) for colour in built.channel_colours)
        and all(0 < len(rule) <= MAX_LENGTH and is_unicode(rule) for rule in built.channel_rules)
    )
