"""The coded pictures of a HEIF, as they lie in the file, for a look at them that no decoder's interface offers.

Sources: ISO/IEC 23008-12 (HEIF), ISO/IEC 14496-12 (boxes, items), ISO/IEC 14496-15 8.3.3.1 (HEVCDecoderConfiguration).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from tiler.decode.readers.heif.boxes import associations, boxes, grid_of, meta_of, number_at, once, overlay_of, take

HEVC, AV1 = b"hvc1", b"av01"

_CONFIGURATIONS = {b"hvcC": HEVC, b"av1C": AV1}
_GRID, _OVERLAY = b"grid", b"iovl"
_MADE_OF_OTHERS = {_GRID, _OVERLAY, b"iden"}
_TURNS = {b"irot", b"imir", b"clap", b"iscl"}
"""Properties that make another picture of one: each is a pass over all of its pixels."""

MOST_TURNS = 8
"""Of one picture. An honest one has each once at most (ISO/IEC 23000-22, 7.3.6.7)."""

_ONCE = {b"pitm", b"iinf", b"iloc", b"iref", b"idat", b"iprp"}

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
    number: of its item.
    kind: HEVC or AV1.
    width, height: of the picture, by its item; 0 where that does not say, as of some transparencies.
    configuration: the HEVCDecoderConfigurationRecord, or the AV1CodecConfigurationRecord.
    data: its length-prefixed NAL units, or its OBUs.
    times: that it is decoded for the page: a grid may name it again and again.
    """

    number: int
    kind: bytes
    width: int
    height: int
    configuration: bytes
    data: bytes
    times: int = 1


class Picture(NamedTuple):
    """What a coded picture was found to be: its pixels, and how it keeps colours (chroma format, bits)."""

    width: int
    height: int
    samples: tuple[int, int]


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    construction: int = 0
    configurations: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)
    auxiliary: list[int] = field(default_factory=list)
    is_alpha: bool = False
    turns: int = 0
    width: int = 0
    height: int = 0

    @property
    def is_coded(self) -> bool:
        return self.kind in _CONFIGURATIONS.values()

    @property
    def pixels(self) -> int:
        return self.width * self.height


class Items:
    """What a HEIF's meta box says of its items.

    Parameters
    ----------
    file: stays the caller's.
    pages: the item of each page, by tiler.decode.readers.heif.pages; page 0 is the primary one.

    Raises
    ------
    struct.error: where it ends within a box, or is none; where it says something twice, and libheif may take the other.
    """

    def __init__(self, file: BinaryIO, pages: Sequence[int] = ()) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self._pages = pages
        self._items: dict[int, _Item] = {}
        self._primary = 0
        self._within = b""
        seen: set[bytes] = set()
        for kind, body in boxes(meta_of(file, self._size)):
            once(kind in seen and kind in _ONCE)
            seen.add(kind)
            match kind:
                case b"pitm":
                    self._primary = number_at(body, 4, 2 if body[0] == 0 else 4)
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

    def codec(self, page: int) -> bytes:
        """Give HEVC or AV1, whichever has coded all that a page is made of.

        Raises
        ------
        StageError: unsupported_format, by name, where it is made of anything else, or of both; image_corrupt.
        struct.error: where an item is not to be found.
        """
        needed = self._needed([self._top(page)])
        for number in needed:
            item = self._items[number]
            if item.kind == _GRID:
                self._require_grid(item)
            elif item.kind not in _MADE_OF_OTHERS and not item.is_coded:
                raise _unread(item.kind)
        codecs = {self._items[number].kind for number in needed if self._items[number].is_coded}
        if len(codecs) > 1:
            raise StageError(
                "unsupported_format",
                "The HEIF puts its picture together from some that HEVC and some that AV1 has coded. Save it again.",
            )
        if not codecs:
            raise damaged("HEIF: the picture is made of none")
        return codecs.pop()

    def coded(self, page: int) -> Iterator[Coded]:
        """Give the coded pictures that a page is made of: one, the tiles of a grid, their transparency.

        Parameters
        ----------
        page: 0 is the primary one.

        Raises
        ------
        StageError: image_truncated, image_corrupt.
        struct.error: where an item is not to be found.
        """
        for number, times in self._needed([self._top(page)]).items():
            item = self._items[number]
            if item.is_coded:
                configuration = next(
                    (
                        item.configurations[name]
                        for name, kind in _CONFIGURATIONS.items()
                        if kind == item.kind and name in item.configurations
                    ),
                    b"",
                )
                if not configuration:
                    raise damaged("HEIF: a coded picture without its decoder's configuration")
                yield Coded(number, item.kind, item.width, item.height, configuration, self._data(item), times)

    def grids(self, page: int) -> list[list[int]]:
        """Give the items of the tiles of each grid that a page is made of."""
        found = [self._items[number] for number in self._needed([self._top(page)])]
        return [item.parts for item in found if item.kind == _GRID]

    def listed(self, page: int) -> list[int]:
        """Give the pixels of each coded picture that a page is made of, as often as it is, by what its item says."""
        needed = self._needed([self._top(page)]).items()
        return [self._items[number].pixels * times for number, times in needed if self._items[number].is_coded]

    def passes(self, page: int) -> list[int]:
        """Give the pixels of each pass over one of those pictures, or over one that is made of them on the way.

        Raises
        ------
        StageError: decoder_too_slow, where one of them is turned, mirrored and cropped more than MOST_TURNS times.
        """
        top, passes = self._top(page), []
        for number, times in self._needed([top]).items():
            item = self._items[number]
            if item.turns > MOST_TURNS:
                raise StageError(
                    "decoder_too_slow",
                    f"The HEIF or AVIF turns, mirrors or crops a picture {item.turns} times; at most {MOST_TURNS} "
                    "are taken here. Save it again.",
                )
            is_made = item.kind in _MADE_OF_OTHERS and number != top
            passes += [self._canvas(item) * times] * (item.turns + is_made)
        return passes

    def _canvas(self, item: _Item) -> int:
        """Give the pixels of an item, by itself or by what it is put together in."""
        with suppress(StageError, struct.error):
            if item.kind == _GRID:
                *_, width, height = grid_of(self._data(item))
                return max(item.pixels, width * height)
            if item.kind == _OVERLAY:
                return max(item.pixels, overlay_of(self._data(item)))
        return item.pixels

    def _top(self, page: int) -> int:
        number = self._primary if page == 0 else self._pages[page] if page < len(self._pages) else -1
        if number not in self._items:
            raise struct.error("a page without an item")
        return number

    def _require_grid(self, grid: _Item) -> None:
        """Raise StageError where libheif would leave a tile out, and show black there."""
        rows, columns, width, height = grid_of(self._data(grid))
        if len(grid.parts) != rows * columns:
            raise damaged(f"HEIF: a grid of {rows * columns} tiles lists {len(grid.parts)}")
        tiles = [self._items.get(number) for number in grid.parts]
        if None in tiles:
            raise damaged("HEIF: a tile of a grid is not there")
        first = tiles[0]
        for tile in tiles:
            if tile is None or first is None or not tile.is_coded:
                raise _unread(tile.kind if tile else b"")
            if tile.turns:
                raise StageError(
                    "unsupported_format",
                    "The HEIF turns or crops the tiles of its grid, which is not read here.",
                )
            if (tile.width, tile.height) != (first.width, first.height):
                raise damaged("HEIF: the tiles of a grid are of different sizes")
            if not tile.pixels or tile.width * columns < width or tile.height * rows < height:
                raise damaged("HEIF: the tiles of a grid do not cover it")

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
        parts = [*item.parts, *self._transparency(item)]
        if item.kind in _MADE_OF_OTHERS and any(part not in self._items for part in parts):
            raise damaged("HEIF: a part of the picture is not there")
        return parts if item.kind in _MADE_OF_OTHERS else [*self._transparency(item)]

    def _transparency(self, item: _Item) -> set[int]:
        """Of several, which only a made-up file has, the first and the last: one of those is what libheif takes."""
        found = [number for number in item.auxiliary if number in self._items and self._items[number].is_alpha]
        return {*found[:1], *found[-1:]}

    def _data(self, item: _Item) -> bytes:
        if not item.extents or not all(length for _, length in item.extents):
            raise damaged("HEIF: a part of the picture has no data")
        if item.construction not in {0, 1}:
            raise StageError("unsupported_format", "The HEIF keeps pictures within others, which is not read here.")
        if item.construction == 1:
            data = [self._within[offset : offset + length] for offset, length in item.extents]
            if any(len(found) < length for found, (_, length) in zip(data, item.extents, strict=True)):
                raise damaged("HEIF: a part of the picture ends within its data")
            return b"".join(data)
        if any(offset + length > self._size for offset, length in item.extents):
            raise StageError("image_truncated", CUT_SHORT)
        if sum(length for _, length in item.extents) > self._size:
            raise damaged("HEIF: a part of the picture is kept again and again")
        data = []
        for offset, length in item.extents:
            self._file.seek(offset)
            data.append(self._file.read(length))
        return b"".join(data)

    def _item(self, number: int) -> _Item:
        return self._items.setdefault(number, _Item())

    def _read_kinds(self, body: bytes) -> None:
        for kind, entry in boxes(body[6 if body[0] == 0 else 8 :]):
            if kind == b"infe" and entry[0] >= 2:
                width = 2 if entry[0] == 2 else 4
                item = self._item(number_at(entry, 4, width))
                once(bool(item.kind))
                item.kind = entry[6 + width : 10 + width]

    def _read_properties(self, body: bytes) -> None:
        properties: list[tuple[bytes, bytes]] = []
        listed: list[tuple[int, list[int]]] = []
        for kind, content in boxes(body):
            if kind == b"ipco":
                once(bool(properties))
                properties = list(boxes(content))
            elif kind == b"ipma":
                listed.extend(associations(content))
        for number, indices in listed:
            for index in indices:
                if index > len(properties):
                    raise struct.error("an item has a property that is not there")
                if index:
                    self._set(self._item(number), *properties[index - 1])

    def _set(self, item: _Item, kind: bytes, data: bytes) -> None:
        if kind in _CONFIGURATIONS:
            once(kind in item.configurations)
            item.configurations[kind] = data
        elif kind == b"ispe":
            once(item.pixels > 0)
            item.width, item.height = number_at(data, 4, 4), number_at(data, 8, 4)
        elif kind in _TURNS:
            item.turns += 1
        elif kind == b"auxC":
            item.is_alpha |= data[4:].partition(b"\0")[0] in _ALPHA

    def _read_places(self, body: bytes) -> None:
        version, stream = body[0], io.BytesIO(body[4:])
        sizes = take(stream, 2)
        offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
        wide = 4 if version == 2 else 2
        for _ in range(take(stream, wide)):
            item = self._item(take(stream, wide))
            once(bool(item.extents))
            item.construction = take(stream, 2) & 15 if version else 0
            take(stream, 2)
            base = take(stream, base_size)
            for _ in range(take(stream, 2)):
                take(stream, index_size if version else 0)
                item.extents.append((base + take(stream, offset_size), take(stream, length_size)))

    def _read_references(self, body: bytes) -> None:
        wide = 4 if body[0] else 2
        for kind, entry in boxes(body[4:]):
            stream = io.BytesIO(entry)
            source = take(stream, wide)
            if kind == b"dimg":
                once(bool(self._item(source).parts))
            for _ in range(take(stream, 2)):
                target = take(stream, wide)
                if kind == b"dimg":
                    self._item(source).parts.append(target)
                elif kind == b"auxl":
                    self._item(target).auxiliary.append(source)


def _unread(kind: bytes) -> StageError:
    if not kind:
        return damaged("HEIF: a part of the picture is not there")
    name = kind.decode("ascii", errors="replace")
    return StageError(
        "unsupported_format",
        f"The HEIF puts its picture together from parts of a kind that is not read here ({name!r}). Save it again, as "
        "HEVC or AV1.",
    )
