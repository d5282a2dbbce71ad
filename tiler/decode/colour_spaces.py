"""Colour spaces that files name by code points instead of an ICC profile.

Sources: ITU-T H.273 (CICP: ColourPrimaries, TransferCharacteristics), ITU-R BT.2100 (PQ, HLG), IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

Chromaticity = tuple[float, float]

REFERENCE_WHITE = 203.0
"""Luminance of diffuse white in an HDR image, in nits (ITU-R BT.2408, 2.1)."""


_LEAST_AREA = 0.001
"""Least area of the triangle of red, green and blue; sRGB's has 0.11."""


class Primaries(NamedTuple):
    """The CIE 1931 chromaticities, x and y, of red, green, blue and white."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity


class Range(Enum):
    """What a value of 1 stands for in the light that a curve returns."""

    SDR = auto()
    """White."""
    PQ = auto()
    """REFERENCE_WHITE on the display."""
    HLG = auto()
    """The brightest light in the scene."""


class Curve(NamedTuple):
    """A transfer characteristic: `light` maps a sample from 0 to 1 to linear light."""

    light: Callable[[float], float]
    range: Range = Range.SDR


class ColourSpace(NamedTuple):
    """A colour space that a file names.

    Parameters
    ----------
    name: for people.
    primaries, curve: None if unknown.
    """

    name: str
    primaries: Primaries | None
    curve: Curve | None


def of_gamma(gamma: float) -> Curve:
    """Return the curve of a power law."""
    return Curve(lambda sample: sample**gamma)


def is_possible(primaries: Primaries) -> bool:
    """Return whether white is a mixture of red, green and blue."""
    corners, white = primaries[:3], primaries.white
    areas = [_area(corners[n - 1], corners[n], white) for n in range(3)]
    return white[1] > 0 and abs(sum(areas)) > _LEAST_AREA and (min(areas) > 0 or max(areas) < 0)


def _area(a: Chromaticity, b: Chromaticity, c: Chromaticity) -> float:
    """Return the area of a triangle, positive if its corners are listed anticlockwise."""
    return ((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2


def by_cicp(primaries: int, transfer: int) -> ColourSpace:
    """Return the colour space of two code points of CICP. Unspecified ones count as those of sRGB."""
    named, found = PRIMARIES.get(primaries, (f"colour primaries {primaries}", None))
    bent, curve = _CURVES.get(transfer, (f"transfer characteristics {transfer}", None))
    return ColourSpace(f"{named} with {bent}" if bent else named, found, curve)


def _srgb(sample: float) -> float:
    return sample / 12.92 if sample <= 0.04045 else ((sample + 0.055) / 1.055) ** 2.4


def _smpte_240m(sample: float) -> float:
    return sample / 4 if sample < 0.0913 else float(((sample + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq(sample: float) -> float:
    root = sample ** (1 / 78.84375)
    nits = 10_000 * (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return float(nits / REFERENCE_WHITE)


def _hlg(sample: float) -> float:
    if sample <= 0.5:
        return sample * sample / 3
    return float((2.718281828459045 ** ((sample - 0.55991073) / 0.17883277) + 0.28466892) / 12)


_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB = Primaries((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
SRGB_CURVE = Curve(_srgb)
_SMPTE_170M = Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)

PRIMARIES: dict[int, tuple[str, Primaries]] = {
    1: ("BT.709", SRGB),
    2: ("BT.709", SRGB),
    4: ("BT.470 System M", Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C)),
    5: ("BT.601, 625 lines", Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65)),
    6: ("BT.601, 525 lines", _SMPTE_170M),
    7: ("SMPTE 240M", _SMPTE_170M),
    8: ("generic film", Primaries((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C)),
    9: ("BT.2020", Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)),
    10: ("CIE XYZ", Primaries((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3))),
    11: ("DCI-P3", Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351))),
    12: ("Display P3", Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65)),
    22: ("EBU Tech 3213-E", Primaries((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65)),
}
"""The name and the primaries of each code point. 2 is "unspecified"."""

PQ, HLG = 16, 18

_CURVES: dict[int, tuple[str, Curve]] = {
    # The curves of BT.709 and similar standards describe cameras. Their images are meant for displays like sRGB's, and
    # browsers show them so.
    **dict.fromkeys((1, 2, 6, 11, 12, 13, 14, 15), ("", SRGB_CURVE)),
    4: ("gamma 2.2", of_gamma(2.2)),
    5: ("gamma 2.8", of_gamma(2.8)),
    7: ("SMPTE 240M's curve", Curve(_smpte_240m)),
    8: ("linear light", of_gamma(1.0)),
    9: ("a logarithmic curve", Curve(lambda sample: 10 ** (2 * (sample - 1)) if sample > 0 else 0.0)),
    10: ("a logarithmic curve", Curve(lambda sample: 10 ** (2.5 * (sample - 1)) if sample > 0 else 0.0)),
    PQ: ("PQ", Curve(_pq, Range.PQ)),
    17: ("SMPTE 428-1's curve", Curve(lambda sample: min(1.0, sample**2.6 * 52.37 / 48))),
    HLG: ("HLG", Curve(_hlg, Range.HLG)),
}
"""The name and the curve of each code point; no name for sRGB's curve."""
