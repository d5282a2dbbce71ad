"""Find the coded pictures of a HEIF's pages in the file, since libheif's interface does not offer them one by one.

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
_MONOCHROME = 0x10
"""Bit of the third byte of an av1C property: the picture has no colours."""

_GRID, _OVERLAY = b"grid", b"iovl"
_MADE_OF_OTHERS = {_GRID, _OVERLAY, b"iden"}
_TURNS = {b"irot", b"imir", b"clap", b"iscl"}
"""Properties that transform a picture. Each costs a pass over all of its pixels."""

MOST_TURNS = 8
"""Most transforming properties of one picture. A valid file has each at most once (ISO/IEC 23000-22, 7.3.6.7)."""

_ONCE = {b"pitm", b"iinf", b"iloc", b"iref", b"idat", b"iprp"}

ALPHA = {
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
}
"""Types of an auxiliary picture that is the transparency of another. Depth maps, gain maps and others are not
decoded."""


class Coded(NamedTuple):
    """One coded picture.

    Parameters
    ----------
    number: of its item.
    kind: HEVC or AV1.
    width, height: of the picture, by its item; 0 if the item does not say it, as for some transparencies.
    configuration: the HEVCDecoderConfigurationRecord, or the AV1CodecConfigurationRecord.
    data: its length-prefixed NAL units, or its OBUs.
    times: how often it is decoded for the page: a grid may list the same picture several times.
    """

    number: int
    kind: bytes
    width: int
    height: int
    configuration: bytes
    data: bytes
    times: int = 1


class Grid(NamedTuple):
    """A picture that is assembled from tiles of one size, row by row. It may be smaller than the tiles together.

    Parameters
    ----------
    columns, rows: number of tiles.
    width, height: of the picture, in pixels.
    tile_width, tile_height: in pixels.
    parts: the item of each tile.
    """

    columns: int
    rows: int
    width: int
    height: int
    tile_width: int
    tile_height: int
    parts: tuple[int, ...]


class Signal(NamedTuple):
    """The coding of colours in code points of ISO/IEC 23091-2 (CICP)."""

    primaries: int
    transfer: int
    is_full_range: bool


class Picture(NamedTuple):
    """Properties of a decoded picture.

    Parameters
    ----------
    width, height: in pixels.
    samples: how it stores colours: chroma format (GREY or another one), and bits.
    signal: the coding of colours in the coded data; the item's properties override it.
    """

    width: int
    height: int
    samples: tuple[int, int]
    signal: Signal


GREY = 0
"""The chroma format of a picture without colours, in libde265 and in dav1d."""


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    construction: int = 0
    configurations: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)
    auxiliary: list[int] = field(default_factory=list)
    premultiplied: list[int] = field(default_factory=list)
    signal: Signal | None = None
    is_alpha: bool = False
    turns: list[tuple[bytes, bytes]] = field(default_factory=list)
    width: int = 0
    height: int = 0

    @property
    def is_coded(self) -> bool:
        return self.kind in _CONFIGURATIONS.values()

    @property
    def pixels(self) -> int:
        return self.width * self.height


class Items:
    """The items of a HEIF, as its meta box describes them.

    Parameters
    ----------
    file: the caller closes it.
    pages: the item of each page, by tiler.decode.readers.heif.pages; page 0 is the primary one.

    Raises
    ------
    struct.error: if the file is no HEIF, or ends within a box; if it says something twice, since libheif might use the
        other one.
    """

    def __init__(self, file: BinaryIO, pages: Sequence[int] = ()) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self.pages = pages
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
        """Return the codec of all coded pictures of a page: HEVC or AV1.

        Raises
        ------
        StageError: unsupported_format, if the page contains any other kind of item, or both codecs; image_corrupt.
        struct.error: if an item is missing.
        """
        needed = self._needed([self.top(page)])
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
                "The HEIF contains both HEVC and AV1 pictures in one page. Save it again with one of them.",
            )
        if not codecs:
            raise damaged("HEIF: the page contains no coded picture")
        return codecs.pop()

    def coded(self, page: int) -> Iterator[Coded]:
        """Yield the coded pictures of a page: one, or the tiles of a grid, and their transparency.

        Parameters
        ----------
        page: 0 is the primary one.

        Raises
        ------
        StageError: image_truncated, image_corrupt.
        struct.error: if an item is missing.
        """
        for number, times in self.uses(page).items():
            yield self.picture(number, times)

    def uses(self, page: int) -> dict[int, int]:
        """Return how often each coded picture of a page is decoded for it, by its item; raises StageError."""
        needed = self._needed([self.top(page)])
        return {number: times for number, times in needed.items() if self._items[number].is_coded}

    def picture(self, number: int, times: int = 1) -> Coded:
        """Return the coded picture of an item; raises StageError: image_truncated, image_corrupt."""
        item, configuration = self._items[number], self.configuration(number)
        if not configuration:
            raise damaged("HEIF: a coded picture has no decoder configuration")
        return Coded(number, item.kind, item.width, item.height, configuration, self._data(item), times)

    def configuration(self, number: int) -> bytes:
        """Return the decoder configuration of a coded picture; empty if it has none."""
        item = self._items[number]
        found = (item.configurations.get(name, b"") for name, kind in _CONFIGURATIONS.items() if kind == item.kind)
        return next(found, b"")

    def grid(self, number: int) -> Grid | None:
        """Return an item as a grid, if it is one; raises StageError and struct.error if its data cannot be read."""
        item = self._items[number]
        if item.kind != _GRID:
            return None
        rows, columns, width, height = grid_of(self._data(item))
        first = self._items[item.parts[0]]
        return Grid(columns, rows, width, height, first.width, first.height, tuple(item.parts))

    def transparency(self, number: int) -> set[int]:
        """Return the items of the transparency of an item."""
        return self._transparency(self._items[number])

    def turns(self, number: int) -> list[tuple[bytes, bytes]]:
        """Return the properties that transform an item, in their order: the type and the content of each."""
        return self._items[number].turns

    def colours(self, page: int) -> list[int]:
        """Return the items of the coded pictures of a page without those of its transparency."""
        waiting, found = [self.top(page)], dict[int, None]()
        while waiting:
            number = waiting.pop()
            if number not in found:
                found[number] = None
                item = self._items[number]
                if item.kind in _MADE_OF_OTHERS:
                    waiting += [part for part in reversed(item.parts) if part in self._items]
        return [number for number in found if self._items[number].is_coded]

    def is_grey_av1(self, page: int) -> bool:
        """Return whether the coded pictures of a page are AV1 without colours, by their configurations."""
        found = [self._items[number].configurations.get(b"av1C", b"") for number in self.colours(page)]
        return all(len(data) > 2 and data[2] & _MONOCHROME for data in found)

    def is_premultiplied(self, page: int) -> bool:
        """Return whether the colours of a page are multiplied by its transparency."""
        item = self._items[self.top(page)]
        return not self._transparency(item).isdisjoint(item.premultiplied)

    def signal(self, page: int) -> Signal | None:
        """Return the coding of colours in the properties of a page; None if they do not contain it."""
        numbers = [self.top(page), *self.colours(page)[:1]]
        return next((self._items[number].signal for number in numbers if self._items[number].signal), None)

    def grids(self, page: int) -> list[list[int]]:
        """Return the items of the tiles of each grid in a page."""
        found = [self._items[number] for number in self._needed([self.top(page)])]
        return [item.parts for item in found if item.kind == _GRID]

    def listed(self, page: int) -> list[int]:
        """Return the pixels of each coded picture of a page by its item, times how often the page uses it."""
        needed = self._needed([self.top(page)]).items()
        return [self._items[number].pixels * times for number, times in needed if self._items[number].is_coded]

    def passes(self, page: int) -> list[int]:
        """Return the pixels of each extra pass over a picture of a page, coded or assembled from others.

        Raises
        ------
        StageError: decoder_too_slow, if a picture is turned, mirrored and cropped more than MOST_TURNS times.
        """
        top, passes = self.top(page), []
        for number, times in self._needed([top]).items():
            item = self._items[number]
            if len(item.turns) > MOST_TURNS:
                raise StageError(
                    "decoder_too_slow",
                    f"The HEIF or AVIF turns, mirrors or crops a picture {len(item.turns)} times; at most {MOST_TURNS} "
                    "times are supported. Save it again.",
                )
            is_made = item.kind in _MADE_OF_OTHERS and number != top
            passes += [self._canvas(item) * times] * (len(item.turns) + is_made)
        return passes

    def _canvas(self, item: _Item) -> int:
        """Return the pixels of an item, or of the canvas that it is assembled on if that is larger."""
        with suppress(StageError, struct.error):
            if item.kind == _GRID:
                *_, width, height = grid_of(self._data(item))
                return max(item.pixels, width * height)
            if item.kind == _OVERLAY:
                return max(item.pixels, overlay_of(self._data(item)))
        return item.pixels

    def top(self, page: int) -> int:
        """Return the item of a page; raises struct.error if there is none."""
        number = self._primary if page == 0 else self.pages[page] if page < len(self.pages) else -1
        if number not in self._items:
            raise struct.error("a page has no item")
        return number

    def _require_grid(self, grid: _Item) -> None:
        """Raise StageError if libheif would leave a tile out and show black there."""
        rows, columns, width, height = grid_of(self._data(grid))
        if len(grid.parts) != rows * columns:
            raise damaged(f"HEIF: a grid of {rows * columns} tiles lists {len(grid.parts)}")
        tiles = [self._items.get(number) for number in grid.parts]
        if None in tiles:
            raise damaged("HEIF: a tile of a grid is missing")
        first = tiles[0]
        for tile in tiles:
            if tile is None or first is None or not tile.is_coded:
                raise _unread(tile.kind if tile else b"")
            if tile.turns:
                raise StageError(
                    "unsupported_format",
                    "The HEIF turns or crops the tiles of its grid, which is not supported. Save it again.",
                )
            if (tile.width, tile.height) != (first.width, first.height):
                raise damaged("HEIF: the tiles of a grid have different sizes")
            if not tile.pixels or tile.width * columns < width or tile.height * rows < height:
                raise damaged("HEIF: the tiles of a grid do not cover it")

    def _needed(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return how often each item is decoded to decode the given ones. A cycle of items is cut where it closes."""
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
        # Each item comes before its parts, so everything that uses an item is counted before the item itself.
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
            raise damaged("HEIF: a part of the picture is missing")
        return parts if item.kind in _MADE_OF_OTHERS else [*self._transparency(item)]

    def _transparency(self, item: _Item) -> set[int]:
        """Return the transparency of an item. A crafted file may have several: libheif uses the first or the last."""
        found = [number for number in item.auxiliary if number in self._items and self._items[number].is_alpha]
        return {*found[:1], *found[-1:]}

    def _data(self, item: _Item) -> bytes:
        if not item.extents or not all(length for _, length in item.extents):
            raise damaged("HEIF: a part of the picture has no data")
        if item.construction not in {0, 1}:
            raise StageError(
                "unsupported_format", "The HEIF stores pictures inside of other items, which is not supported."
            )
        if item.construction == 1:
            data = [self._within[offset : offset + length] for offset, length in item.extents]
            if any(len(found) < length for found, (_, length) in zip(data, item.extents, strict=True)):
                raise damaged("HEIF: a part of the picture ends within its data")
            return b"".join(data)
        if any(offset + length > self._size for offset, length in item.extents):
            raise StageError("image_truncated", CUT_SHORT)
        if sum(length for _, length in item.extents) > self._size:
            raise damaged("HEIF: a part of the picture lists more data than the file has")
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
                    raise struct.error("an item refers to a missing property")
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
            item.turns.append((kind, data))
        elif kind == b"colr" and data[:4] == b"nclx":
            item.signal = Signal(number_at(data, 4, 2), number_at(data, 6, 2), number_at(data, 10, 1) >> 7 == 1)
        elif kind == b"auxC":
            item.is_alpha |= data[4:].partition(b"\0")[0] in ALPHA

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
                elif kind == b"prem":
                    self._item(source).premultiplied.append(target)


def _unread(kind: bytes) -> StageError:
    if not kind:
        return damaged("HEIF: a part of the picture is missing")
    name = kind.decode("ascii", errors="replace")
    return StageError(
        "unsupported_format",
        f"The HEIF contains parts of a kind that is not supported ({name!r}). Save it again as HEVC or AV1.",
    )
