"""Read the values of a TIFF's entries as decimal numbers. Pure functions."""

from __future__ import annotations

import math
import struct

from pipeline.formats.tiff.directory import Directory

_FORMATS = {3: "H", 4: "I", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
_RATIONALS = {5: "II", 10: "ii"}


def decimals(directory: Directory, tag: int, most: int) -> tuple[float, ...]:
    """Return an entry's numbers, integers, fractions or floats; none if it is missing, or one of them is not finite.

    Parameters
    ----------
    most: of the numbers that are read.

    Raises
    ------
    struct.error: if the file ends within the numbers.
    """
    entry = directory.entries.get(tag)
    if entry is None or entry.kind not in _FORMATS | _RATIONALS:
        return ()
    count = min(entry.values, most)
    form = _RATIONALS.get(entry.kind) or _FORMATS[entry.kind]
    raw = directory.beginning(entry, count * struct.calcsize(f"={form}"))
    values = struct.unpack(f"{directory.order}{form * count}", raw)
    if entry.kind in _RATIONALS:
        pairs = list(zip(values[::2], values[1::2], strict=True))
        if any(below == 0 for _, below in pairs):
            return ()
        found = tuple(above / below for above, below in pairs)
    else:
        found = tuple(float(value) for value in values)
    return found if all(map(math.isfinite, found)) else ()
