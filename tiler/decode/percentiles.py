"""Percentiles of samples, exact and whatever their values are: by bisection over the order of their bits."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Sequence

import pyvips

SCALED = {"uchar", "ushort"}
"""Types of samples with a fixed scale, by libvips' names."""

FRACTIONS = {"float", "double"}

INTEGERS = {
    "uchar": (0, (1 << 8) - 1),
    "char": (-(1 << 7), (1 << 7) - 1),
    "ushort": (0, (1 << 16) - 1),
    "short": (-(1 << 15), (1 << 15) - 1),
    "uint": (0, (1 << 32) - 1),
    "int": (-(1 << 31), (1 << 31) - 1),
}
"""Least and greatest value of libvips' integer types."""

_FLOAT_MAX = (2 - 2**-23) * 2.0**127
"""Greatest finite 32-bit float."""


def countable(image: pyvips.Image, hidden: pyvips.Image | None) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Return the colours of an image, and 255 for each sample that counts; None if all count.

    Samples of hidden and wholly transparent pixels, infinities and not-a-number do not count.
    """
    colours = 1 if image.bands < 3 else 3
    samples = image.extract_band(0, n=colours)
    valid = None
    if samples.format not in INTEGERS:
        # Comparisons with not-a-number are false, and infinities are beyond the greatest finite value.
        least, greatest = limits(samples.format)
        valid = (samples >= least) & (samples <= greatest)
    seen = None if hidden is None else hidden == 0
    if image.bands > colours:
        opaque = image.extract_band(colours) > 0
        seen = opaque if seen is None else opaque & seen
    if seen is not None:
        seen = seen.bandjoin([seen] * (colours - 1)) if colours > 1 else seen
        valid = seen if valid is None else valid & seen
    return samples, valid


def limits(samples: str) -> tuple[float, float]:
    """Return the least and the greatest finite value of a type of samples, in libvips' words."""
    if samples in INTEGERS:
        return INTEGERS[samples]
    greatest = _FLOAT_MAX if samples == "float" else sys.float_info.max
    return -greatest, greatest


def percentiles(image: pyvips.Image, shares: Sequence[float], hidden: pyvips.Image | None = None) -> list[float] | None:
    """Return the nearest ranks of some percentiles over all colours together; None if no sample counts.

    Parameters
    ----------
    image: in memory, of 1 or 3 colours, with or without a band of transparency, and of any real type.
    shares: percentiles, 0 to 100.
    hidden: a mask in memory, 255 for pixels that do not count; None if all count.
    """
    samples, valid = countable(image, hidden)
    total = samples.width * samples.height * samples.bands
    counted = total
    if valid is not None:
        valid = valid.copy_memory()
        counted = _count(valid, total)
    if counted == 0:
        return None

    def up_to(bound: float) -> int:
        below = samples <= bound
        return _count(below if valid is None else below & valid, total)

    is_integer = samples.format in INTEGERS
    least, greatest = limits(samples.format)
    first, last = (int(least), int(greatest)) if is_integer else (_key(least), _key(greatest))
    return [_nearest(share, counted, first, last, up_to, is_integer=is_integer) for share in shares]


def _count(mask: pyvips.Image, total: int) -> int:
    """Return the number of samples that are 255."""
    share: float = mask.avg() / 255
    return round(share * total)


def _nearest(
    share: float, counted: int, first: int, last: int, up_to: Callable[[float], int], *, is_integer: bool
) -> float:
    rank = max(1, math.ceil(share / 100 * counted))
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if up_to(middle if is_integer else _value(middle)) >= rank:
            high = middle
        else:
            low = middle + 1
    return float(low) if is_integer else _value(low)


def _key(value: float) -> int:
    """Return an integer that orders a finite double as its value does."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return int(bits) if bits >= 0 else -(int(bits) & 0x7FFFFFFFFFFFFFFF)


def _value(key: int) -> float:
    bits = key if key >= 0 else -key | -(1 << 63)
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
