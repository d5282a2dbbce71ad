"""Read the directories of a TIFF without a decoder, since libvips does not report all of their tags. Pure functions.

Sources: TIFF 6.0, section 2; BigTIFF as libtiff writes it (8-byte offsets, 20-byte entries).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping
from copy import copy
from enum import IntEnum
from typing import NamedTuple, Protocol

MAX_ENTRIES = 4096
"""Most entries of a directory: libtiff's own limit. A common directory has about twenty."""

MAX_VALUES = 1 << 24
"""Most values read from one entry: the strips of an image of 16 million rows."""

MAX_BYTES = 8 * MAX_VALUES
"""Most bytes of values read from one entry."""

PIECE = 1 << 20
"""Most bytes read at once: a read takes memory for the bytes that it asks for, even if the file has fewer."""

NATIVE = "<" if sys.byteorder == "little" else ">"
"""This machine's byte order, in struct's notation."""

_WORDS = {1: "B", 3: "H", 4: "I", 16: "Q", 18: "Q", 13: "I"}
"""Letters of `array` for the types of unsigned integers."""

_LONG, _LONG8 = 4, 16
"""Types of integers of 4 and 8 bytes."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value for each type."""


class Tag(IntEnum):
    """The tags that Tilewright reads."""

    KIND = 254
    OLD_KIND = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    MAKER = 271
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_LENGTHS = 279
    MIN_SAMPLE = 280
    MAX_SAMPLE = 281
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    PAGE_NAME = 285
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_LENGTHS = 325
    COLOUR_MAP = 320
    SUB_DIRECTORIES = 330
    INK_SET = 332
    INKS = 334
    EXTRA_SAMPLES = 338
    S_MIN_SAMPLE = 340
    S_MAX_SAMPLE = 341
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    COEFFICIENTS = 529
    SUBSAMPLING = 530
    BLACK_AND_WHITE = 532
    IMAGE_DEPTH = 32997
    TILE_DEPTH = 32998
    EXIF = 34665
    GEO_KEYS = 34735
    PROFILE = 34675
    GPS = 34853
    INTEROPERABILITY = 40965
    NODATA = 42113
    DNG_VERSION = 50706
    IMAGEJ_COUNTS = 50838
    IMAGEJ = 50839
    NDPI_LENS = 65421


PLACES = ((Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS), (Tag.TILE_OFFSETS, Tag.TILE_LENGTHS))
"""Pairs of tags with the offsets and lengths of the pixels."""


class Entry(NamedTuple):
    """One entry as stored: the number of values, and in `value` the values themselves or their offset."""

    tag: int
    kind: int
    values: int
    value: bytes

    @property
    def length(self) -> int:
        """Bytes of all values."""
        return _SIZES.get(self.kind, 0) * self.values


class File(Protocol):
    """A file to read from. Offsets count from its beginning. At its end, `read` returns fewer bytes than requested."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


class Directory:
    """One directory of a file. The caller closes the file.

    Attributes
    ----------
    stored: all entries in the order of the file.
    entries: the entries by their tags. If a tag occurs twice, the first one counts, as in libtiff.

    Raises
    ------
    struct.error: if the file ends within the directory, or it has more than MAX_ENTRIES. Methods raise it if the file
        ends within an entry's values.
    """

    def __init__(self, file: File, order: str, big: bool, offset: int) -> None:
        self._file = file
        self.order = order
        self.big = big
        self.offset = offset
        seek_to(file, offset)
        (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
        if count > MAX_ENTRIES:
            raise struct.error("a directory has too many entries")
        stored = file.read(count * (20 if big else 12))
        found = struct.iter_unpack(f"{order}HH{self._word}{8 if big else 4}s", stored)
        self.stored = [Entry(*fields) for fields in found]
        if len(self.stored) < count:
            raise struct.error("the file ends within a directory")
        self.entries = {entry.tag: entry for entry in reversed(self.stored)}
        self._end = file.tell() + (8 if big else 4)

    def values(self, tag: Tag) -> tuple[int, ...]:
        """Return an entry's integers; none if the tag is missing or has another type."""
        return tuple(self.numbers(tag))

    def numbers(self, tag: Tag) -> array[int]:
        """As `values`, but in an array of as few bytes as in the file: there may be millions of values."""
        entry = self.entries.get(tag)
        return array("Q") if entry is None else self.integers(entry)

    def integers(self, entry: Entry) -> array[int]:
        """Return the integers of one of the stored entries; none if it has another type or more than MAX_VALUES."""
        if entry.kind not in _WORDS or entry.values > MAX_VALUES:
            return array("Q")
        raw = self.raw(entry)[: entry.length]
        if len(raw) < entry.length:
            raise struct.error("the file ends within an entry's values")
        found = array(_WORDS[entry.kind], raw)
        if self.order != NATIVE:
            found.byteswap()
        return found

    def value(self, tag: Tag, default: int) -> int:
        """Return an entry's first integer, or `default`."""
        return next(iter(self.values(tag)), default)

    def raw(self, entry: Entry) -> bytes:
        """Return the bytes of an entry's values: fewer if the file ends within them, and at most MAX_BYTES."""
        return entry.value if entry.length <= len(entry.value) else self.beginning(entry, MAX_BYTES)

    def beginning(self, entry: Entry, most: int) -> bytes:
        """Return the first bytes of an entry's values, at most `most`: there may be hundreds of megabytes."""
        if entry.length <= len(entry.value):
            return entry.value[: min(entry.length, most)]
        seek_to(self._file, self.place(entry))
        left, data = min(entry.length, most), bytearray()
        while left and (piece := self._file.read(min(left, PIECE))):
            data += piece
            left -= len(piece)
        return bytes(data)

    def place(self, entry: Entry) -> int:
        """Return the offset of the values of an entry that are stored outside of it."""
        (offset,) = struct.unpack(f"{self.order}{self._word}", entry.value)
        return int(offset)

    def listed(self) -> tuple[array[int], array[int]]:
        """Return the offsets and the lengths of the tiles, or of the strips if there are no tiles."""
        offsets = self.numbers(Tag.TILE_OFFSETS) or self.numbers(Tag.STRIP_OFFSETS)
        return offsets, self.numbers(Tag.TILE_LENGTHS) or self.numbers(Tag.STRIP_LENGTHS)

    def chunks(self) -> list[tuple[int, int]]:
        """Return offset and length of each strip or tile."""
        found: list[tuple[int, int]] = []
        for offsets, lengths in PLACES:
            found.extend(zip(self.values(offsets), self.values(lengths), strict=False))
        return found

    def end(self, size: int) -> int:
        """Return the end of the last byte that belongs to the directory, its values or its pixels.

        Parameters
        ----------
        size: of the file. If the directory or values already lie beyond it, the pixels' offsets are not read.
        """
        ends = [self._end]
        ends += [self.place(entry) + entry.length for entry in self.entries.values() if entry.length > len(entry.value)]
        if max(ends) <= size:
            ends.extend(offset + length for offset, length in self.chunks())
        return max(ends)

    def replaced(self, values: Mapping[Tag, array[int]]) -> Directory:
        """Return a copy that has other integers in these entries."""
        found = copy(self)
        found.entries = dict(self.entries)
        for tag, numbers in values.items():
            kind = _LONG8 if max(numbers, default=0) >= 1 << 32 else _LONG
            stored = array(_WORDS[kind], numbers)
            if self.order != NATIVE:
                stored.byteswap()
            found.entries[tag] = Entry(tag, kind, len(numbers), stored.tobytes())
        return found

    @property
    def _word(self) -> str:
        return "Q" if self.big else "I"


def seek_to(file: File, offset: int) -> None:
    """Move to an offset; raises struct.error if it is beyond any file."""
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError) as error:
        raise struct.error("an offset is beyond any file") from error
