"""Samples of a TIFF that libvips cannot read: of 64 bits, complex, or with bits that fill no bytes. Pure functions.

libvips 8.18 reads samples of 8, 16 and 32 bits, and pages of one sample with 1, 2 or 4. All others that are supported
are read as bytes by tiler.decode.readers.tiff.unpacked. Sources: TIFF 6.0, section 19; GDAL's tags for complex samples.
"""

from __future__ import annotations

import math
from array import array

from pipeline.formats.tiff.directory import Directory, Tag

UNSIGNED, SIGNED, FLOAT, UNDEFINED, COMPLEX_INTEGER, COMPLEX = range(1, 7)
"""Values of Tag.SAMPLE_FORMAT."""

COMPLEXES = {COMPLEX_INTEGER, COMPLEX}

NATIVE_BITS = {8, 16, 32}

SMALL_BITS = {1, 2, 4}
"""Bits that libvips reads if a pixel has one sample."""

MOST_PACKED = 31

_JPEG = 7
"""Value of Tag.COMPRESSION."""

SUPPORTED = {
    UNSIGNED: {*range(1, 33), 64},
    SIGNED: {*NATIVE_BITS, 64},
    FLOAT: {16, 32, 64},
    UNDEFINED: {*range(1, 33)},
    COMPLEX_INTEGER: {32, 64},
    COMPLEX: {64, 128},
}
"""Bits of a sample by its format. Complex samples have two parts of half as many bits."""


def kind_of_samples(directory: Directory) -> tuple[int, int]:
    """Return the bits of a page's samples, and their format; raises struct.error if the file ends within the values."""
    return directory.value(Tag.BITS, 1), directory.value(Tag.SAMPLE_FORMAT, UNSIGNED)


def is_unpacked(directory: Directory) -> bool:
    """Return whether libvips has to read a page through tiler.decode.readers.tiff.unpacked.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    bits, kind = kind_of_samples(directory)
    if bits not in SUPPORTED.get(kind, ()):
        return False
    if kind in COMPLEXES or bits > MOST_PACKED + 1:
        return True
    return bits not in NATIVE_BITS and (bits not in SMALL_BITS or directory.value(Tag.SAMPLES, 1) > 1)


def is_jpeg_of_12_bits(directory: Directory) -> bool:
    """Return whether a page has 12-bit samples and is compressed with JPEG.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    return kind_of_samples(directory) == (12, UNSIGNED) and directory.value(Tag.COMPRESSION, 1) == _JPEG


def packed_range(directory: Directory) -> tuple[int, int] | None:
    """Return the least and the greatest sample that the bits of a page allow, if they are 9 to 15 or 17 to 31.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    bits, _ = kind_of_samples(directory)
    return (0, (1 << bits) - 1) if bits > min(NATIVE_BITS) and is_packed(bits) else None


def range_of_bits(directory: Directory) -> tuple[float, float] | None:
    """Return the least and the greatest sample that the bits of a page allow, where no type of libvips says so.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    bits, kind = kind_of_samples(directory)
    if bits > MOST_PACKED + 1 and kind == UNSIGNED:
        return 0.0, float((1 << bits) - 1)
    if bits > MOST_PACKED + 1 and kind == SIGNED:
        return -float(1 << (bits - 1)), float((1 << (bits - 1)) - 1)
    return packed_range(directory)


def is_packed(bits: int) -> bool:
    """Return whether samples of so many bits fill no whole bytes, or a number of them that no integer has."""
    return bits <= MOST_PACKED and bits not in NATIVE_BITS


def group_of(bits: int) -> tuple[int, int]:
    """Return the fewest bytes that hold a whole number of packed samples, and that number."""
    common = math.gcd(bits, 8)
    return bits // common, 8 // common


def readable(directory: Directory) -> dict[Tag, array[int]]:
    """Return values for tags of an unpacked page with which libvips opens it, to read its size and its other tags.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    bits, kind = kind_of_samples(directory)
    shown = next((each for each in sorted(NATIVE_BITS) if each >= bits), max(NATIVE_BITS))
    found = {Tag.BITS: array("Q", [shown] * len(directory.values(Tag.BITS)))}
    if kind in COMPLEXES:
        found[Tag.SAMPLE_FORMAT] = array("Q", [FLOAT] * len(directory.values(Tag.SAMPLE_FORMAT)))
    return found
