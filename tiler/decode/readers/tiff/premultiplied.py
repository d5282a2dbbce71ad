"""Divide colours by the alpha that they are multiplied by (ExtraSamples 1, associated alpha).

libvips divides by itself, but takes the greatest alpha from its name of the colours: 255 unless they are 16-bit grey or
RGB. That is wrong for CMYK of 16 bits, signed and 32-bit integers, and floats of other colours than RGB.
"""

from __future__ import annotations

from array import array

import pyvips

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.alpha import ANYTHING, premultiplied_by
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.layout import PALETTE, RGB
from pipeline.formats.tiff.samples import is_unpacked

GREATEST = {
    "uchar": (1 << 8) - 1,
    "ushort": (1 << 16) - 1,
    "uint": (1 << 32) - 1,
    "char": (1 << 7) - 1,
    "short": (1 << 15) - 1,
    "int": (1 << 31) - 1,
}
"""Alpha of an opaque pixel, by libvips' names of integer samples. That of a float is 1."""

_UNSIGNED = 1
_COLOURS = 3
"""Bands of a palette's colours."""


def divided_by(directory: Directory) -> int | None:
    """Return the band that the colours have to be divided by; None if there is none, or libvips divides rightly."""
    alpha, bits = premultiplied_by(directory), directory.value(Tag.BITS, 1)
    if is_unpacked(directory) and directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == PALETTE:
        return None if alpha is None else _COLOURS
    if directory.value(Tag.SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED or bits > 16 or is_unpacked(directory):
        return alpha
    by_name = {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB}
    return None if bits <= 8 or directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) in by_name else alpha


def unmarked(directory: Directory) -> Directory:
    """Return the directory with bands that do not say what they are, so that libvips divides by none."""
    count = len(directory.values(Tag.EXTRA_SAMPLES))
    return directory.replaced({Tag.EXTRA_SAMPLES: array("Q", [ANYTHING] * count)})


def straight(image: pyvips.Image, alpha: int) -> pyvips.Image:
    """Return an image whose bands before `alpha` are divided by it, in samples of the same type."""
    kind, name = image.format, image.interpretation
    most = GREATEST.get(kind, 1)
    # A share of the greatest sample: libvips allows no alpha of 32 bits, and 32-bit floats cannot hold one.
    samples = image.cast("double") / most if kind in GREATEST else image
    share = samples.extract_band(alpha)
    share = (share < 0).ifthenelse(0, (share > 1).ifthenelse(1, share))
    # Not libvips' unpremultiply, which makes all colours black where alpha is below 0.01. A quotient by 0 is 0.
    divided = samples.extract_band(0, n=alpha) / share
    colours = ((divided * most).rint() if kind in GREATEST else divided).cast(kind)
    others = image.extract_band(alpha, n=image.bands - alpha)
    return colours.bandjoin(others).copy(interpretation=name)
