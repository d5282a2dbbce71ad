"""How large a pixel of an image is in the real world: units, limits, and the form that people read. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

METRES: Final[Mapping[str, float]] = {
    "nm": 1e-9,
    "µm": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "km": 1e3,
    "in": 0.0254,
}
"""Units that a size may have, in metres."""

_SPELLINGS = {"um": "µm", "\u03bcm": "µm"}
"""The second is the Greek letter, which looks the same."""

LEAST, MOST = 1e-12, 1e9
"""Least and greatest edge of a pixel in metres: an atom has 1e-10, and the Earth's orbit 1e11."""

MOST_RATIO = 1000
"""Most that one edge of a pixel may be longer than the other."""

_DIGITS = 9
"""Significant digits of a size that was computed."""

_FITTING = ((1e-7, "nm"), (1e-4, "µm"), (1e-1, "mm"), (1e3, "m"), (math.inf, "km"))
"""Edges in metres below which each unit is used."""


_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?)"
TEXT = re.compile(rf"\s*{_NUMBER}(?:\s*[x\u00d7,]\s*{_NUMBER})?\s*([a-zµ\u03bc]{{1,2}})\s*")
"""A size as people write it."""


class PixelSize(NamedTuple):
    """Width and height of a pixel.

    Parameters
    ----------
    unit: a key of METRES.
    """

    x: float
    y: float
    unit: str

    def turned(self) -> PixelSize:
        """Return the size in an image that was turned by a quarter."""
        return PixelSize(self.y, self.x, self.unit)

    def times(self, across: float, down: float) -> PixelSize | None:
        """Return the size in an image that has so many times fewer pixels; None if that is beyond the limits."""
        metres = METRES[self.unit]
        return of_metres(self.x * across * metres, self.y * down * metres)


def parse_text(text: str) -> PixelSize:
    """Return a size written as `0.25 µm`, or as `0.25 x 0.5 µm` for a pixel that is not square; raises ValueError."""
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError('write it as "0.25 µm", or "0.25 x 0.5 µm"')
    x, y, unit = found.groups()
    return parse(float(x), float(y or x), unit)


def parse(x: float, y: float, unit: str) -> PixelSize:
    """Return a pixel's size; raises ValueError, with a message for people, if it is none."""
    unit = _SPELLINGS.get(unit, unit)
    if unit not in METRES:
        raise ValueError(f"the unit must be one of {', '.join(METRES)}")
    if not _is_sane(x * METRES[unit], y * METRES[unit]):
        raise ValueError("x and y must be greater than 0, and sizes that a pixel can have")
    return PixelSize(float(x), float(y), unit)


def of_metres(x: float, y: float) -> PixelSize | None:
    """Return a pixel's size in the unit that fits; None if it is beyond the limits."""
    if not _is_sane(x, y):
        return None
    unit = next(unit for below, unit in _FITTING if min(x, y) < below)
    return PixelSize(_rounded(x / METRES[unit]), _rounded(y / METRES[unit]), unit)


def _is_sane(x: float, y: float) -> bool:
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    return LEAST <= x <= MOST and LEAST <= y <= MOST and 1 / MOST_RATIO <= x / y <= MOST_RATIO


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
