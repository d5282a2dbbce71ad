"""Convert samples of a colour space that a file names by code points to 8-bit sRGB, while streaming.

Samples are converted to linear light, then to linear light of sRGB's primaries, then to sRGB. Values outside of sRGB
are clipped in each channel. The white of the colour space becomes the white of sRGB.

HDR (PQ and HLG) has light brighter than white. Light up to KNEE times REFERENCE_WHITE is not changed, so that an HDR
image is as bright as an SDR one. Brighter light is compressed: it approaches white, but never reaches it. All channels
are scaled by the factor of the brightest channel, so that hues are kept. HLG is shown as on a display of 1,000 nits
(ITU-R BT.2100, table 5), where its reference white has 203 nits as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache

import pyvips

from tiler.decode.colour_spaces import REFERENCE_WHITE, SRGB, Chromaticity, ColourSpace, Primaries, Range

KNEE = 0.8
"""Share of REFERENCE_WHITE above which light is compressed. White itself becomes 0.9, which is level 243 of 255, and
light of 1,000 nits becomes 254: white looks white, and highlights are still brighter."""

HLG_PEAK, HLG_GAMMA = 1000.0, 1.2
"""The display for which HLG is converted: its peak in nits, and the system gamma for that peak."""

_WHITE = 65535
"""Levels of linear light from black to white: enough for sRGB, whose darkest level spans twenty of them."""

Matrix = list[list[float]]


def to_srgb(image: pyvips.Image, space: ColourSpace) -> pyvips.Image:
    """Return an 8- or 16-bit image of 1 or 3 colours, with or without alpha, as 8-bit sRGB; grey stays one band.

    Parameters
    ----------
    space: of the image. Its primaries and its curve must be known.
    """
    if space.curve is None or space.primaries is None:
        raise ValueError(space.name)
    grey = image.bands < 3
    colours = image.extract_band(0, n=1 if grey else 3)
    last = 255 if image.format == "uchar" else 65535
    table = array("f", (space.curve.light(sample / last) for sample in range(last + 1)))
    light = colours.maplut(_table(table, "float"))
    if space.curve.range is Range.HLG:
        light = _displayed(light, space.primaries)
    if not grey:
        light = light.recomb(pyvips.Image.new_from_array(_to_srgb_primaries(space.primaries)))
    if space.curve.range is not Range.SDR:
        light = _compressed(light)
    coded = light.linear(_WHITE, 0.5).cast("ushort").maplut(_table(_levels(), "uchar"))
    if image.bands > colours.bands:
        alpha = image.extract_band(colours.bands)
        coded = coded.bandjoin(alpha if image.format == "uchar" else (alpha >> 8).cast("uchar"))
    return coded.copy(interpretation="b-w" if grey else "srgb")


def _displayed(light: pyvips.Image, primaries: Primaries) -> pyvips.Image:
    """Apply HLG's OOTF: return the light of the display, relative to REFERENCE_WHITE."""
    luminance = pyvips.Image.new_from_array(_to_xyz(primaries)[1:2])
    brightness = light.recomb(luminance) if light.bands == 3 else light
    return light * brightness ** (HLG_GAMMA - 1) * (HLG_PEAK / REFERENCE_WHITE)


def _compressed(light: pyvips.Image) -> pyvips.Image:
    brightest = light.extract_band(0)
    if light.bands == 3:
        brightest = brightest.bandrank([light.extract_band(1), light.extract_band(2)], index=2)
    brightest = (brightest > KNEE).ifthenelse(brightest, KNEE)
    above = (brightest - KNEE) / (1 - KNEE)
    return light * ((above / (above + 1) * (1 - KNEE) + KNEE) / brightest)


@cache
def _levels() -> array[int]:
    """Return the level of sRGB for each of the _WHITE + 1 levels of light."""
    return array("B", (round(255 * _coded(level / _WHITE)) for level in range(_WHITE + 1)))


def _coded(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * float(light ** (1 / 2.4)) - 0.055


def _table(values: array[int] | array[float], kind: str) -> pyvips.Image:
    return pyvips.Image.new_from_memory(values.tobytes(), len(values), 1, 1, kind)


def _to_srgb_primaries(primaries: Primaries) -> Matrix:
    """Return the matrix from linear light of these primaries to linear light of sRGB's primaries."""
    adapted = _product(_adaptation(primaries.white, SRGB.white), _to_xyz(primaries))
    return _product(_inverse(_to_xyz(SRGB)), adapted)


def _to_xyz(primaries: Primaries) -> Matrix:
    """Return the matrix from linear light of these primaries to CIE XYZ, with Y = 1 for white."""
    columns = _transposed([_xyz(*colour) for colour in primaries[:3]])
    white = [[part / primaries.white[1]] for part in _xyz(*primaries.white)]
    amounts = _product(_inverse(columns), white)
    return [[value * amount for value, (amount,) in zip(row, amounts, strict=True)] for row in columns]


def _adaptation(source: Chromaticity, target: Chromaticity) -> Matrix:
    """Return Bradford's matrix, which adapts CIE XYZ from one white to another (ICC.1:2022, annex E)."""
    cones = [_product(_BRADFORD, [[part / white[1]] for part in _xyz(*white)]) for white in (source, target)]
    ratios = [after / before for (before,), (after,) in zip(*cones, strict=True)]
    scaled = [[value * ratio for value in row] for row, ratio in zip(_BRADFORD, ratios, strict=True)]
    return _product(_inverse(_BRADFORD), scaled)


_BRADFORD: Matrix = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]


def _xyz(x: float, y: float) -> list[float]:
    return [x, y, 1 - x - y]


def _product(left: Matrix, right: Matrix) -> Matrix:
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in _transposed(right)] for row in left]


def _transposed(rows: Sequence[Sequence[float]]) -> Matrix:
    return [list(column) for column in zip(*rows, strict=True)]


def _inverse(rows: Matrix) -> Matrix:
    """Return the inverse of a 3 x 3 matrix, by its cofactors; raises ZeroDivisionError if there is none."""
    (a, b, c), (d, e, f), (g, h, i) = rows
    cofactors = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    return [[value / determinant for value in row] for row in cofactors]
