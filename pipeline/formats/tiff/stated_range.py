"""The range of its samples that a TIFF's page states. Pure functions. Source: TIFF 6.0, sections 8 and 19."""

from __future__ import annotations

import math
import struct

from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.samples import packed_range

_LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
"""Letters of `struct` for the types of numbers."""

MOST_VALUES = 64
"""Most values read of a tag: one for each sample of a pixel."""

_PAIRS = ((Tag.S_MIN_SAMPLE, Tag.S_MAX_SAMPLE), (Tag.MIN_SAMPLE, Tag.MAX_SAMPLE))


def stated_range(directory: Directory, sample: int | None = None) -> tuple[float, float] | None:
    """Return the least and the greatest sample, if the page states both: by its tags, or by 9 to 15 or 17 to 31 bits.

    Parameters
    ----------
    sample: of a pixel, from 0; None for all together.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    for least, greatest in _PAIRS:
        lows, highs = _of(sample, _numbers(directory, least)), _of(sample, _numbers(directory, greatest))
        if lows and highs and min(lows) < max(highs):
            return min(lows), max(highs)
    return packed_range(directory)


def _of(sample: int | None, values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the value of one sample, or all of them. A single value counts for every sample."""
    return values if sample is None or len(values) < 2 else values[sample : sample + 1]


def _numbers(directory: Directory, tag: Tag) -> tuple[float, ...]:
    """Return the finite values of a tag; none if it is missing, or has another type."""
    entry = directory.entries.get(tag)
    if entry is None or entry.kind not in _LETTERS or not 0 < entry.values <= MOST_VALUES:
        return ()
    raw = directory.raw(entry)[: entry.length]
    found = struct.unpack(f"{directory.order}{entry.values}{_LETTERS[entry.kind]}", raw)
    return found if all(math.isfinite(value) for value in found) else ()
