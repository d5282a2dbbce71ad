"""How samples become 8 bits: the values of the option `stretch`. The rules are in docs/formats.md."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The ways to map samples to 0 to 255."""

    AUTO = "auto"
    NONE = "none"
    RANGE = "range"
    PERCENTILE = "percentile"
    ASINH = "asinh"


PERCENTILES = {Kind.AUTO: (2.0, 98.0), Kind.PERCENTILE: (2.0, 98.0), Kind.ASINH: (0.5, 99.5)}
"""Percentiles that become 0 and 255 if the option names none."""

MAX_LENGTH = 80
"""Most characters of the option: a name and two numbers."""

FORM = '"auto", "none", "range", "range:LOW,HIGH", "percentile", "percentile:LOW,HIGH", "asinh" or "asinh:LOW,HIGH"'
"""The values that `parse` takes, for error messages."""


class Stretch(NamedTuple):
    """A value of the option.

    Parameters
    ----------
    kind: the way.
    low, high: samples for RANGE, percentiles for PERCENTILE and ASINH; None for the default.
    """

    kind: Kind = Kind.AUTO
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return self.kind.value
        return f"{self.kind.value}:{_number(self.low)},{_number(self.high)}"

    @property
    def percentiles(self) -> tuple[float, float]:
        """The percentiles that become 0 and 255, if the way uses percentiles."""
        if self.low is None or self.high is None:
            return PERCENTILES[self.kind]
        return self.low, self.high


DEFAULT = Stretch()


def parse(text: str) -> Stretch:
    """Return the value that a text stands for; "" stands for "auto".

    Raises
    ------
    ValueError: with a sentence for people.
    """
    name, mark, figures = text.strip().partition(":")
    try:
        kind = Kind(name or Kind.AUTO)
    except ValueError:
        raise ValueError(f"stretch is one of {FORM}.") from None
    if not mark:
        return Stretch(kind)
    if kind in {Kind.AUTO, Kind.NONE}:
        raise ValueError(f"stretch {kind.value} takes no figures: it is one of {FORM}.")
    low, high = _pair(figures)
    if kind is not Kind.RANGE and not 0 <= low < high <= 100:
        raise ValueError(f"The percentiles of stretch {kind.value} are between 0 and 100, the lower one first.")
    if not low < high:
        raise ValueError("The first figure of stretch range becomes 0 and is less than the second, which becomes 255.")
    return Stretch(kind, low, high)


def _pair(figures: str) -> tuple[float, float]:
    parts = figures.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f'stretch takes two numbers, such as "range:0,4095", not "{figures[:MAX_LENGTH]}".')
    return low, high


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(value)
