"""The value that stands for missing samples in a TIFF: GDAL's tag, and which samples are meant by it. Pure functions.

Sources: GDAL's driver for TIFF (TIFFTAG_GDAL_NODATA: the value as text), and its comparison of floats.
"""

from __future__ import annotations

import math
import struct

from pipeline.formats.tiff.colours import LABS
from pipeline.formats.tiff.directory import Directory, Tag
from pipeline.formats.tiff.samples import COMPLEXES, FLOAT

MOST_TEXT = 256
"""Most bytes of the text: a number of 32 bits has at most 40 characters."""

HUGE = 3.39e38
"""From here on, all 32-bit floats of one sign count as the same value: programs round the greatest one differently."""

_TEXT_KINDS = {1, 2, 7}
"""Types of bytes, text and undefined."""

_FLOATS = {16: "e", 32: "f", 64: "d"}
"""Letters of `struct` by bits of a float."""

_SIGNED = 2


def nodata_of(directory: Directory) -> float | None:
    """Return the value of a page's samples that are missing, as its samples store it.

    Returns
    -------
    The value, rounded to the type of the samples; may be not-a-number. None if there is no tag, if it is no number, if
    no sample can have it, or if the page is CIELAB.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    value = _number(directory)
    if value is None or directory.value(Tag.PHOTOMETRIC, 0) in LABS:  # whose samples libvips converts
        return None
    bits, kind = directory.value(Tag.BITS, 1), directory.value(Tag.SAMPLE_FORMAT, 1)
    if kind in COMPLEXES:
        return None
    if kind == FLOAT:
        return _rounded(value, bits)
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind == _SIGNED else (0, (1 << bits) - 1)
    # No integer sample is infinite, has a fraction, or is missing.
    return value if math.isfinite(value) and value == int(value) and least <= value <= float(most) else None


def _number(directory: Directory) -> float | None:
    entry = directory.entries.get(Tag.NODATA)
    if entry is None or entry.kind not in _TEXT_KINDS or not 0 < entry.length <= MOST_TEXT:
        return None
    text = directory.raw(entry)[: entry.length].split(b"\0")[0].decode("ascii", errors="replace").strip()
    if "#QNAN" in text.upper() or "#IND" in text.upper():  # as Microsoft's libraries write it
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _rounded(value: float, bits: int) -> float | None:
    letter = _FLOATS.get(bits)
    if letter is None:
        return None
    try:
        (found,) = struct.unpack(letter, struct.pack(letter, value))
    except OverflowError:
        return math.copysign(math.inf, value) if abs(value) < HUGE or bits != 32 else value
    return float(found)
