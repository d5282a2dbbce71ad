"""Directories of a TIFF, read without a decoder: what libvips does not tell of them. Pure.

Sources: TIFF 6.0, section 2; BigTIFF as libtiff writes it (8-byte offsets, 20-byte entries).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple, Protocol

MAX_DIRECTORIES = 1 << 20
"""Followed at most, as by libtiff, which knows no page behind them."""

MAX_ENTRIES = 4096
"""Of one directory: libtiff reads none that has more; a plain one has some twenty."""

MAX_VALUES = 1 << 24
"""Values read of one entry at most: the strips of a picture of 16 million rows."""

NATIVE = "<" if sys.byteorder == "little" else ">"
"""This machine's order of bytes, as struct names it."""

_WORDS = {1: "B", 3: "H", 4: "I", 16: "Q", 18: "Q", 13: "I"}
"""array's letter by a value's type, for types of whole numbers without sign."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by its type."""


class Tag(IntEnum):
    """The tags that are looked at."""

    KIND = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    MAKER = 271
    STRIP_OFFSETS = 273
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_LENGTHS = 279
    PLANAR = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_LENGTHS = 325
    SUB_DIRECTORIES = 330
    INK_SET = 332
    INKS = 334
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    COEFFICIENTS = 529
    SUBSAMPLING = 530
    BLACK_AND_WHITE = 532
    EXIF = 34665
    GPS = 34853
    INTEROPERABILITY = 40965
    DNG_VERSION = 50706


REDUCED = 1
"""Bit of Tag.KIND: the page is a smaller version of another."""

PLACES = ((Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS), (Tag.TILE_OFFSETS, Tag.TILE_LENGTHS))
"""Pairs of tags that say where the pixels lie."""


class Entry(NamedTuple):
    """One entry as it is stored: how many values, and in `value` the values themselves, or where they lie."""

    tag: int
    kind: int
    values: int
    value: bytes

    @property
    def length(self) -> int:
        """Bytes of all values."""
        return _SIZES.get(self.kind, 0) * self.values


class File(Protocol):
    """What is read of a file. Positions are from its beginning; at its end there is less than was asked for."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


class Directory:
    """One directory of a file, which stays the caller's.

    Raises
    ------
    struct.error: where the file ends within it, or it has more than MAX_ENTRIES; also by its methods, where the file
    ends within the values.
    """

    def __init__(self, file: File, order: str, big: bool, offset: int) -> None:
        self._file = file
        self.order = order
        self.big = big
        self.offset = offset
        _seek(file, offset)
        (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
        if count > MAX_ENTRIES:
            raise struct.error("more entries than a directory has")
        stored = file.read(count * (20 if big else 12))
        found = struct.iter_unpack(f"{order}HH{self._word}{8 if big else 4}s", stored)
        entries = [Entry(*fields) for fields in found]
        if len(entries) < count:
            raise struct.error("the file ends within a directory")
        # Of a tag that is there twice the first counts, as to libtiff.
        self.entries = {entry.tag: entry for entry in reversed(entries)}
        self._end = file.tell() + (8 if big else 4)

    def values(self, tag: Tag) -> tuple[int, ...]:
        """Give an entry's whole numbers; none where the tag is absent or of another type."""
        return tuple(self.numbers(tag))

    def numbers(self, tag: Tag) -> array[int]:
        """Give what `values` gives, in as few bytes as they take in the file: there may be millions."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _WORDS or entry.values > MAX_VALUES:
            return array("Q")
        raw = self.raw(entry)[: entry.length]
        if len(raw) < entry.length:
            raise struct.error("the file ends within an entry's values")
        found = array(_WORDS[entry.kind], raw)
        if self.order != NATIVE:
            found.byteswap()
        return found

    def value(self, tag: Tag, default: int) -> int:
        """Give an entry's first whole number."""
        return next(iter(self.values(tag)), default)

    def raw(self, entry: Entry) -> bytes:
        """Give an entry's values as they are stored."""
        if entry.length <= len(entry.value):
            return entry.value
        _seek(self._file, self.place(entry))
        return self._file.read(entry.length)

    def place(self, entry: Entry) -> int:
        """Give where the values lie of an entry that has no room for them."""
        (offset,) = struct.unpack(f"{self.order}{self._word}", entry.value)
        return int(offset)

    def chunks(self) -> list[tuple[int, int]]:
        """Give offset and length of each strip or tile."""
        found: list[tuple[int, int]] = []
        for offsets, lengths in PLACES:
            found.extend(zip(self.values(offsets), self.values(lengths), strict=False))
        return found

    def end(self, size: int) -> int:
        """Give where the last byte ends that the directory names: its own, its values', its pixels'.

        Parameters
        ----------
        size: of the file. What lies beyond it is not looked at for what it names.
        """
        ends = [self._end]
        ends += [self.place(entry) + entry.length for entry in self.entries.values() if entry.length > len(entry.value)]
        if max(ends) <= size:
            ends.extend(offset + length for offset, length in self.chunks())
        return max(ends)

    @property
    def _word(self) -> str:
        return "Q" if self.big else "I"


def directories(file: File, first: int = 0) -> Iterator[Directory]:
    """Give the pages of an open TIFF in their order, from one on. Of those before it only their ends are read.

    Raises
    ------
    struct.error: where the file ends within one.
    """
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = struct.unpack(f"{order}H", file.read(2))
    big = version == 43
    if big:
        file.seek(8)
    (offset,) = struct.unpack(f"{order}{'Q' if big else 'I'}", file.read(8 if big else 4))
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(offset)
        if len(seen) > first:
            yield Directory(file, order, big, offset)
        offset = _next(file, order, big, offset)


def _next(file: File, order: str, big: bool, offset: int) -> int:
    _seek(file, offset)
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    _seek(file, offset + (8 + 20 * count if big else 2 + 12 * count))
    stored = file.read(8 if big else 4)
    # A file that ends here ends well to libtiff: there is no further page.
    return int.from_bytes(stored, "little" if order == "<" else "big") if len(stored) == (8 if big else 4) else 0


def find(file: File, page: int, sub: int | None = None) -> Directory | None:
    """Give a page's directory, or one below it; None where there is none.

    Parameters
    ----------
    page: from 0.
    sub: which one of the page's subdirectories, from 0.

    Raises
    ------
    struct.error: where the file ends within one.
    """
    directory = next(directories(file, page), None)
    if directory is None or sub is None:
        return directory
    offsets = directory.values(Tag.SUB_DIRECTORIES)
    return Directory(file, directory.order, directory.big, offsets[sub]) if sub < len(offsets) else None


def _seek(file: File, offset: int) -> None:
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError) as error:
        raise struct.error("no file is so long") from error
