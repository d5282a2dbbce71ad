"""Map samples to 8 bits by a range: see docs/formats.md and pipeline.stretch for the rules.

All colours share one range, so that hues are kept. Not-a-number becomes black, and a sample beyond the range the end of
the range. An image of a single value becomes black. In a TIFF whose zero is white, the least becomes 255 and the
greatest 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pyvips

from pipeline.stretch import PERCENTILES, Kind, Stretch
from tiler.decode.percentiles import FRACTIONS, INTEGERS, SCALED
from tiler.decode.sampling import Sample

AUTO = Stretch(Kind.PERCENTILE, *PERCENTILES[Kind.AUTO])

WIDEST = Stretch(Kind.PERCENTILE, 0.0, 100.0)
"""The rule for images with few bright pixels: both percentiles of AUTO are their background."""

FLOAT_SPANS = (1e-30, 1e38)
"""Least and greatest width of a range for which 32-bit float arithmetic neither overflows nor loses a level."""

SOFTENING = 0.1
"""`a` of the asinh stretch, as astropy's AsinhStretch has it: below this share of the range it is nearly linear."""


class Shown(NamedTuple):
    """How samples were mapped.

    Parameters
    ----------
    rule: the way that was used; its figures are percentiles, or the range that was asked for.
    samples: their type, in libvips' words.
    low, high: the samples that became 0 and 255; None if no sample is finite.
    is_reversed: whether `high` became 0, and `low` 255.
    """

    rule: Stretch
    samples: str
    low: float | None
    high: float | None
    is_reversed: bool = False

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.samples} samples without a finite value among them mapped as if from 0 to 0"
        first, last = (self.high, self.low) if self.is_reversed else (self.low, self.high)
        return f"{self.samples} samples from {first:g} to {last:g} mapped to 0 to 255"


def automatic(sample: Sample) -> Stretch | None:
    """Return the rule for samples whose range nothing states; None if they have a single value, or there are none."""
    found = sample.range(AUTO)
    if found is None:
        return None
    if found[0] != found[1]:
        return AUTO
    least, greatest = sample.range(WIDEST) or found
    return None if least == greatest else WIDEST


def show(
    image: pyvips.Image,
    rule: Stretch,
    sample: Callable[[], Sample],
    decisions: list[str],
    *,
    reverse: bool = False,
    stored: str = "",
) -> tuple[pyvips.Image, Shown]:
    """Return the image with 8-bit samples, and how they were mapped.

    Parameters
    ----------
    image: 1 or 3 colours, and possibly one more band.
    rule: of any kind but AUTO.
    sample: returns the pixels from which the range is found, in memory. It is called where the rule needs it.
    decisions: receives a line of text if the band after the colours is left out.
    reverse: whether the greatest sample is black.
    stored: type of the samples, as tiler.decode.reader.Reader.samples; empty for that of the image.

    Raises
    ------
    pyvips.Error: if the sample cannot be decoded.
    """
    colours = 1 if image.bands < 3 else 3
    pixels, stored = sample, stored or str(image.format)
    if is_left_out := image.bands > colours and not _is_transparency(image, stored, sample):
        decisions.append("the band after the colours, of unknown meaning, left out")

        def pixels() -> Sample:
            both = sample()
            return Sample(both.image.extract_band(0, n=colours), both.hidden)

    low, high = _range(rule, stored, pixels) or (None, None)
    seen = image.extract_band(0, n=colours)
    if rule.kind is Kind.NONE and stored == "ushort":
        shown = _upper_bits(seen, reverse=reverse)
    else:
        shown = _mapped(seen, low or 0.0, high or 0.0, is_asinh=rule.kind is Kind.ASINH, reverse=reverse)
    if image.bands > colours and not is_left_out:
        shown = shown.bandjoin(transparency(image.extract_band(colours)))
    shown = shown.copy(interpretation="b-w" if colours == 1 else "srgb")
    return shown, Shown(rule, stored, low, high, reverse)


def _is_transparency(image: pyvips.Image, stored: str, sample: Callable[[], Sample]) -> bool:
    """Return whether the band after the colours is transparency: of 8 or 16 bits, or a float from 0 to 1."""
    if stored not in FRACTIONS:
        return stored in SCALED
    band = sample().image.extract_band(image.bands - 1)
    # Comparisons with not-a-number are false: what is hidden says nothing.
    return bool(((band < 0) | (band > 1)).max() == 0)


def _upper_bits(samples: pyvips.Image, *, reverse: bool) -> pyvips.Image:
    """Return the upper 8 of 16 bits, as libvips does it; black for not-a-number."""
    if samples.format == "ushort":
        level = (samples >> 8).cast("uchar")
        return 255 - level if reverse else level
    # Comparisons with not-a-number are false. The division by a power of 2 is exact.
    is_sample = samples >= 0
    level = (samples / 256).floor()
    return is_sample.ifthenelse(255 - level if reverse else level, 0).cast("uchar")


def transparency(band: pyvips.Image) -> pyvips.Image:
    """Return a band of transparency with 8 bits: the upper ones of 16, as libvips does it."""
    if band.format in FRACTIONS:
        return _mapped(band, 0.0, 1.0)
    return band if band.format == "uchar" else (band >> 8).cast("uchar")


def _range(rule: Stretch, samples: str, sample: Callable[[], Sample]) -> tuple[float, float] | None:
    if rule.kind is Kind.NONE:
        return _full(samples)
    if rule.kind is Kind.RANGE and rule.low is not None and rule.high is not None:
        return rule.low, rule.high
    return sample().range(rule)


def _full(samples: str) -> tuple[float, float]:
    """Return the range that a type of samples stands for."""
    return (0.0, 1.0) if samples in FRACTIONS else INTEGERS[samples]


def _mapped(
    samples: pyvips.Image, low: float, high: float, *, is_asinh: bool = False, reverse: bool = False
) -> pyvips.Image:
    if samples.format not in FRACTIONS or not FLOAT_SPANS[0] < high - low < FLOAT_SPANS[1]:
        # libvips would compute in 32-bit floats. Their 24 bits are too few for 32-bit samples far from zero.
        samples = samples.cast("double")
    # A range wider than the greatest double is halved first.
    level = (samples - low) * (255.0 / (high - low)) if 0 < high - low < math.inf else _of_edge(samples, low, high)
    if is_asinh:
        level = _softened(level)
    # All comparisons with not-a-number are false: missing samples become black.
    if reverse:
        return ((level >= 0) | (level < 0)).ifthenelse(255 - level, 0).rint().cast("uchar")
    return (level >= 0).ifthenelse(level, 0).rint().cast("uchar")


def _of_edge(samples: pyvips.Image, low: float, high: float) -> pyvips.Image:
    """Return the levels of a range that has no width, or whose width is no double."""
    return samples - low if low == high else (samples / 2 - low / 2) * (255.0 / (high / 2 - low / 2))


def _softened(level: pyvips.Image) -> pyvips.Image:
    share = (level > 255).ifthenelse(255, (level >= 0).ifthenelse(level, 0)) / 255
    return (share / SOFTENING).asinh() * (255.0 / math.asinh(1 / SOFTENING))
