"""Undo the predictors of 64-bit samples. Sources: TIFF 6.0, section 14; Adobe's TIFF Technical Note 3."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from itertools import accumulate

from pipeline.formats.tiff import NATIVE, Directory, Tag
from pipeline.formats.tiff.layout import APART, Compression
from pipeline.formats.tiff.sample_checks import BYTES_OF_FLOATS, DIFFERENCES
from pipeline.formats.tiff.samples import kind_of_samples

_BYTES = 8
_MOST = (1 << 64) - 1

Undo = Callable[[bytes], bytes]
"""Returns some rows of a strip or tile as they were before the predictor."""


def undo_of(directory: Directory, row_bytes: int) -> Undo | None:
    """Return what undoes the predictor of a page that is read as bytes; None if it has none.

    Parameters
    ----------
    row_bytes: of a strip or tile.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    predictor, (bits, _) = directory.value(Tag.PREDICTOR, 1), kind_of_samples(directory)
    is_plain = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE
    if is_plain or bits != 8 * _BYTES or predictor not in {DIFFERENCES, BYTES_OF_FLOATS}:
        return None
    samples = 1 if directory.value(Tag.PLANAR, 1) == APART else directory.value(Tag.SAMPLES, 1)
    undo = _differences if predictor == DIFFERENCES else _bytes_of_floats
    return partial(_by_rows, row_bytes=row_bytes, samples=samples, order=directory.order, undo=undo)


def _by_rows(
    data: bytes, *, row_bytes: int, samples: int, order: str, undo: Callable[[bytes, int, str], bytes]
) -> bytes:
    return b"".join(undo(data[at : at + row_bytes], samples, order) for at in range(0, len(data), row_bytes))


def _differences(row: bytes, samples: int, order: str) -> bytes:
    """Add up integers of 64 bits, as libtiff does it for floats as well."""
    found = array("Q", row)
    if order != NATIVE:
        found.byteswap()
    for first in range(samples):
        found[first::samples] = array("Q", (value & _MOST for value in accumulate(found[first::samples])))
    if order != NATIVE:
        found.byteswap()
    return found.tobytes()


def _bytes_of_floats(row: bytes, samples: int, order: str) -> bytes:
    """Add up bytes, then join those of each float. The first bytes of all floats come first, in any byte order."""
    summed = bytearray(len(row))
    for first in range(samples):
        # The lowest bytes of the sums: an array is several times as fast as a generator.
        sums = array("Q", accumulate(row[first::samples])).tobytes()
        summed[first::samples] = sums[0 if NATIVE == "<" else _BYTES - 1 :: _BYTES]
    count = len(row) // _BYTES
    joined = bytearray(len(row))
    for byte in range(_BYTES):
        place = byte if order == ">" else _BYTES - 1 - byte
        joined[place::_BYTES] = summed[byte * count : (byte + 1) * count]
    return bytes(joined)
