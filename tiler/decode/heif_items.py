"""The coded pictures of a HEIF, as they lie in the file, for a look at them that no decoder's interface offers.

Sources: ISO/IEC 23008-12 (HEIF), ISO/IEC 14496-12 (boxes, items), ISO/IEC 14496-15 8.3.3.1 (HEVCDecoderConfiguration).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT

HEVC = b"hvc1"

_PICTURES = {HEVC, b"av01", b"grid", b"iovl", b"iden", b"jpeg", b"j2k1", b"unci", b"avc1", b"vvc1"}
_MADE_OF_OTHERS = {b"grid", b"iovl", b"iden"}
_HIDDEN = 1
_LARGEST_META = 64 << 20
"""Bytes of the box that describes all items: a grid of a gigapixel takes some hundred kilobytes."""

_NOT_ON_TOP = {b"thmb", b"auxl"}
"""References by which an item is a part of another one."""

_ALPHA = {
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
}
"""Kinds of an auxiliary picture that is the transparency of another; depths, gain maps and others are not decoded."""


class Coded(NamedTuple):
    """One coded picture.

    Parameters
    ----------
    configuration: the HEVCDecoderConfigurationRecord.
    data: its length-prefixed NAL units.
    times: that it is decoded for the page: a grid may name it again and again.
    """

    configuration: bytes
    data: bytes
    times: int = 1


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    is_hidden: bool = False
    extents: list[tuple[int, int]] = field(default_factory=list)
    construction: int = 0
    configuration: bytes = b""
    parts: list[int] = field(default_factory=list)
    auxiliary: list[int] = field(default_factory=list)
    is_alpha: bool = False
    is_part: bool = False
    pixels: int = 0

    @property
    def is_coded(self) -> bool:
        return self.kind in _PICTURES - _MADE_OF_OTHERS


class Items:
    """What a HEIF's meta box says of its items.

    Raises
    ------
    struct.error: where it ends within a box, or is none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._items: dict[int, _Item] = {}
        self._primary = 0
        self._within = b""
        for kind, body in _boxes(_meta(file)):
            match kind:
                case b"pitm":
                    self._primary = _number(body, 4, 2 if body[0] == 0 else 4)
                case b"iinf":
                    self._read_kinds(body)
                case b"iloc":
                    self._read_places(body)
                case b"iref":
                    self._read_references(body)
                case b"idat":
                    self._within = body
                case b"iprp":
                    self._read_properties(body)

    def coded(self, page: int) -> Iterator[Coded]:
        """Give what a page is made of that HEVC has coded: one picture, the tiles of a grid, their transparency.

        Parameters
        ----------
        page: 0 is the primary one; others are counted over all pictures that are no part of another one.

        Raises
        ------
        StageError: image_truncated.
        struct.error: where an item is not to be found.
        """
        for number, times in self._needed(self._tops(page)).items():
            item = self._items[number]
            if item.kind == HEVC:
                yield Coded(item.configuration, self._data(item), times)

    def listed(self, page: int) -> list[int]:
        """Give the pixels of each coded picture that a page is made of, as often as it is, by what its item says."""
        needed = self._needed(self._tops(page)).items()
        return [self._items[number].pixels * times for number, times in needed if self._items[number].is_coded]

    def _tops(self, page: int) -> list[int]:
        tops = [number for number, item in sorted(self._items.items()) if _is_top(item)]
        return [self._primary] if page == 0 else tops[page : page + 1] or tops

    def _needed(self, numbers: Iterable[int]) -> dict[int, int]:
        """Give how often each item is decoded for these; what is made of itself is left out of itself."""
        order: list[int] = []
        waiting = [(number, iter(self._parts(number))) for number in numbers if number in self._items]
        seen = {number for number, _ in waiting}
        while waiting:
            number, parts = waiting[-1]
            following = next((part for part in parts if part not in seen), None)
            if following is None:
                order.append(number)
                waiting.pop()
            else:
                seen.add(following)
                waiting.append((following, iter(self._parts(following))))
        # Each before its parts: then all that an item is a part of has been counted once its turn comes.
        place = {number: at for at, number in enumerate(reversed(order))}
        times = dict.fromkeys(place, 0) | dict.fromkeys(numbers, 1)
        for number, at in place.items():
            for part in self._parts(number):
                if place[part] > at:
                    times[part] += times[number]
        return {number: times[number] for number in place}

    def _parts(self, number: int) -> list[int]:
        item = self._items[number]
        return [part for part in [*item.parts, *self._transparency(item)] if part in self._items]

    def _transparency(self, item: _Item) -> set[int]:
        """Of several, which only a made-up file has, the first and the last: one of those is what libheif takes."""
        found = [number for number in item.auxiliary if number in self._items and self._items[number].is_alpha]
        return {*found[:1], *found[-1:]}

    def _data(self, item: _Item) -> bytes:
        if item.construction == 1:
            return b"".join(self._within[offset : offset + length] for offset, length in item.extents)
        if item.construction != 0:
            raise struct.error("an item is made of other items")
        data = bytearray()
        for offset, length in item.extents:
            self._file.seek(offset)
            found = self._file.read(length or -1)
            if len(found) < length:
                raise StageError("image_truncated", CUT_SHORT)
            data += found
        return bytes(data)

    def _item(self, number: int) -> _Item:
        return self._items.setdefault(number, _Item())

    def _read_kinds(self, body: bytes) -> None:
        for kind, entry in _boxes(body[6 if body[0] == 0 else 8 :]):
            if kind == b"infe" and entry[0] >= 2:
                width = 2 if entry[0] == 2 else 4
                item = self._item(_number(entry, 4, width))
                item.kind = entry[6 + width : 10 + width]
                item.is_hidden = bool(entry[3] & _HIDDEN)

    def _read_properties(self, body: bytes) -> None:
        properties: list[tuple[bytes, bytes]] = []
        associations: list[tuple[int, list[int]]] = []
        for kind, content in _boxes(body):
            if kind == b"ipco":
                properties = list(_boxes(content))
            elif kind == b"ipma":
                associations.extend(_associations(content))
        for number, indices in associations:
            for index in indices:
                if 0 < index <= len(properties):
                    self._set(self._item(number), *properties[index - 1])

    def _set(self, item: _Item, kind: bytes, data: bytes) -> None:
        if kind == b"hvcC" and data:
            item.configuration = data
        elif kind == b"ispe":
            item.pixels = _number(data, 4, 4) * _number(data, 8, 4)
        elif kind == b"auxC":
            item.is_alpha |= data[4:].partition(b"\0")[0] in _ALPHA

    def _read_places(self, body: bytes) -> None:
        version, stream = body[0], io.BytesIO(body[4:])
        sizes = _take(stream, 2)
        offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
        wide = 4 if version == 2 else 2
        for _ in range(_take(stream, wide)):
            item = self._item(_take(stream, wide))
            item.construction = _take(stream, 2) & 15 if version else 0
            _take(stream, 2)
            base = _take(stream, base_size)
            for _ in range(_take(stream, 2)):
                _take(stream, index_size if version else 0)
                item.extents.append((base + _take(stream, offset_size), _take(stream, length_size)))

    def _read_references(self, body: bytes) -> None:
        wide = 4 if body[0] else 2
        for kind, entry in _boxes(body[4:]):
            stream = io.BytesIO(entry)
            source = _take(stream, wide)
            for _ in range(_take(stream, 2)):
                target = _take(stream, wide)
                if kind == b"dimg":
                    self._item(source).parts.append(target)
                    self._item(target).is_part = True
                elif kind == b"auxl":
                    self._item(target).auxiliary.append(source)
                if kind in _NOT_ON_TOP:
                    self._item(source).is_part = True


def _is_top(item: _Item) -> bool:
    return item.kind in _PICTURES and not item.is_hidden and not item.is_part


def _meta(file: BinaryIO) -> bytes:
    """Give what is in the meta box."""
    at = 0
    while True:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            head = 16
        if kind == b"meta":
            if not head + 4 <= length <= _LARGEST_META:
                raise struct.error("a meta box of no such size")
            return file.read(length - head)[4:]
        if length < head:
            raise struct.error("no meta box")
        at += length


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if length == 0:
            length = len(data) - at
        if not head <= length <= len(data) - at:
            raise struct.error("a box beyond the one that it is in")
        yield kind, data[at + head : at + length]
        at += length


def _associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    version, flags, stream = body[0], body[3], io.BytesIO(body[4:])
    wide, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
    for _ in range(_take(stream, 4)):
        number = _take(stream, 4 if version else 2)
        yield number, [_take(stream, wide) & mask for _ in range(_take(stream, 1))]


def _number(data: bytes, at: int, size: int) -> int:
    return _take(io.BytesIO(data[at:]), size)


def _take(stream: io.BytesIO, size: int) -> int:
    data = stream.read(size)
    if len(data) < size:
        raise struct.error("a box that ends within a number")
    return int.from_bytes(data, "big")
