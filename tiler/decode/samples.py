"""Stretch samples without a defined range (float, signed, 32-bit): the least becomes 0, the greatest 255.

All colours share one range, so that hues are kept. Not-a-number becomes black, infinity the end of the range. An image
of a single value becomes black. In a TIFF whose zero is white, the least becomes 255 and the greatest 0.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import pyvips

from tiler.image_progress import PASS_SHARE, follow
from tiler.progress import Meter

FLOAT_MAX = 3.4e38
"""Greatest finite 32-bit float, rounded down. A sample beyond it counts as infinite."""

FLOAT_SPANS = (1e-30, 1e38)
"""Least and greatest width of a range for which 32-bit float arithmetic neither overflows nor loses a level."""

Heeded = Callable[[], AbstractContextManager[None]]
"""The type of tiler.decode.reader.Reader.heeded."""

_WITH_FRACTIONS = {"float", "double"}


class Range(NamedTuple):
    """The least and greatest finite sample. If no sample is finite, `low` is greater than `high`."""

    low: float
    high: float


def stretch(
    image: pyvips.Image,
    again: Callable[[], pyvips.Image],
    heeded: Heeded,
    decisions: list[str],
    meter: Meter,
    *,
    reverse: bool = False,
) -> pyvips.Image:
    """Return the image with 8-bit samples.

    Parameters
    ----------
    again: opens the image once more, for the pass that finds the range.
    heeded: context manager that surrounds that pass.
    reverse: whether the greatest sample is black.
    decisions, meter: as in tiler.decode.colours.to_srgb.

    Raises
    ------
    pyvips.Error: if that pass cannot decode the image.
    """
    colours = 1 if image.bands < 3 else 3
    meter.begin(PASS_SHARE)
    ranges = _ranges(again(), heeded, meter)
    low = min(found.low for found in ranges[:colours])
    high = max(found.high for found in ranges[:colours])
    if low > high:
        low = high = 0.0
        decisions.append(f"{image.format} samples without a finite value among them mapped as if from 0 to 0")
    else:
        first, last = (high, low) if reverse else (low, high)
        decisions.append(f"{image.format} samples from {first:g} to {last:g} mapped to 0 to 255")
    stretched = _mapped(image.extract_band(0, n=colours), low, high, reverse=reverse)
    if image.bands > colours:
        if image.format in _WITH_FRACTIONS and _is_share(ranges[colours]):
            stretched = stretched.bandjoin(_mapped(image.extract_band(colours), 0.0, 1.0))
        else:
            decisions.append("the band after the colours, of unknown meaning, left out")
    return stretched.copy(interpretation="b-w" if colours == 1 else "srgb")


def _mapped(samples: pyvips.Image, low: float, high: float, *, reverse: bool = False) -> pyvips.Image:
    if samples.format not in _WITH_FRACTIONS or not FLOAT_SPANS[0] < high - low < FLOAT_SPANS[1]:
        # libvips would compute in 32-bit floats. Their 24 bits are too few for 32-bit samples far from zero.
        samples = samples.cast("double")
    level = (samples - low) * (255.0 / (high - low) if high > low else 1.0)
    # All comparisons with not-a-number are false: missing samples become black.
    if reverse:
        return ((level >= 0) | (level < 0)).ifthenelse(255 - level, 0).rint().cast("uchar")
    return (level >= 0).ifthenelse(level, 0).rint().cast("uchar")


def _is_share(found: Range) -> bool:
    return 0.0 <= found.low <= found.high <= 1.0


def _ranges(samples: pyvips.Image, heeded: Heeded, meter: Meter) -> list[Range]:
    """Return the range of each band."""
    bands = range(1, samples.bands + 1)
    # In the table, row 0 covers all bands; columns 0 and 1 are minimum and maximum.
    if samples.format not in _WITH_FRACTIONS:
        whole = samples.copy()
        follow(whole, meter)
        with heeded():
            table = whole.stats()
        return [Range(table(0, row)[0], table(1, row)[0]) for row in bands]
    finite = samples.abs() <= FLOAT_MAX
    joined = finite.ifthenelse(samples, FLOAT_MAX).bandjoin(finite.ifthenelse(samples, -FLOAT_MAX))
    follow(joined, meter)
    with heeded():
        table = joined.stats()
    return [Range(table(0, row)[0], table(1, row + samples.bands)[0]) for row in bands]
