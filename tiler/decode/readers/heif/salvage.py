"""Find the tiles of a damaged HEIF that can be decoded, and make a file that libheif decodes without the others.

libheif shows black where it cannot decode a tile, and stops at a file that is cut. So the file is changed in memory: a
tile that is lost gets the data of a sound one, and a mask says where it lies. Sources: ISO/IEC 14496-12 8.11.3 (iloc),
ISO/IEC 23008-12 6.5.10 (irot) and 6.5.12 (imir).
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import DAMAGED
from tiler.decode.readers.heif import pages as heif_pages
from tiler.decode.readers.heif.boxes import once
from tiler.decode.readers.heif.coding import Coding, coding_of
from tiler.decode.readers.heif.damage import decoded_alone, require_few
from tiler.decode.readers.heif.items import Grid, Items, Picture
from tiler.decode.readers.heif.lost import require_nothing_lost

_ROTATION, _MIRROR = b"irot", b"imir"
_QUARTERS = ("d0", "d270", "d180", "d90")
"""libvips' turns clockwise for irot's quarters, which go the other way."""

_LOST = 255


class Rest(NamedTuple):
    """What is left of a damaged page.

    Parameters
    ----------
    data: a file without damage, in which sound tiles stand for those that are lost.
    coding: how the page's colours are coded.
    what: names what is lost.
    grids: the page, and its transparency if that is in tiles, too.
    lost: items of the tiles that are lost.
    turns: how the page is turned: see Items.turns.
    """

    data: bytes
    coding: Coding
    what: str
    grids: tuple[Grid, ...]
    lost: frozenset[int]
    turns: tuple[tuple[bytes, bytes], ...]

    def mask(self) -> pyvips.Image:
        """Return an image of one band and of the page's size as it is shown, 255 where pixels are lost."""
        mask = _mask(self.grids[0], self.lost)
        for grid in self.grids[1:]:
            mask |= _mask(grid, self.lost)
        for kind, data in self.turns:
            if kind == _ROTATION:
                mask = mask.rot(_QUARTERS[data[0] & 3])
            else:
                mask = mask.fliphor() if data[0] & 1 else mask.flipver()
        return mask


def rest_of(path: Path, page: int) -> Rest | None:
    """Find what can be decoded of a damaged page in tiles; None if that is all or nothing, or cannot be told.

    Parameters
    ----------
    page: 0 is the primary one.

    Raises
    ------
    StageError: if the page is refused for another reason than damage.
    struct.error, IndexError, KeyError: if the description of the file is damaged.
    OSError: if the file cannot be read.
    MemoryError: if memory runs out.
    """
    data = bytearray(path.read_bytes())
    _end_within(data)
    file = io.BytesIO(bytes(data))
    require_nothing_lost(file)
    items = Items(file, heif_pages.pages_of(path) if page else [])
    codec, top = items.codec(page), items.top(page)
    grid = items.grid(top)
    if grid is None or any(kind not in {_ROTATION, _MIRROR} for kind, _ in items.turns(top)):
        return None
    of_transparency = [items.grid(number) for number in items.transparency(top)]
    grids = (grid, *(found for found in of_transparency if found is not None))
    found = _sound(items, page, grids)
    lost = items.uses(page).keys() - found.keys()
    tiles = {number for each in grids for number in each.parts}
    if not lost or not lost <= tiles or any(each[2:4] != grid[2:4] for each in grids):
        return None
    donors = _donors(items, grids, lost, places := _places(data))
    if donors is None:
        return None
    for number, donor in donors.items():
        start, end = places[number]
        data[start:end] = data[slice(*places[donor])]
    # libheif has to find what was decoded here.
    changed = Items(io.BytesIO(data), items.pages)
    if any(changed.picture(number).data != items.picture(donor).data for number, donor in donors.items()):
        return None
    coding = coding_of(items, page, codec, found | {number: found[donor] for number, donor in donors.items()})
    gone = {at for each in grids for at, number in enumerate(each.parts) if number in lost}
    what = f"{len(gone):,} of {len(grid.parts):,} tiles"
    return Rest(bytes(data), coding, what, grids, frozenset(lost), tuple(items.turns(top)))


def _sound(items: Items, page: int, grids: Sequence[Grid]) -> dict[int, Picture]:
    """Return the pictures of a page that can be decoded: of a grid, those that store their colours as most do."""
    found: dict[int, Picture] = {}
    decoded = 0
    for number, times in items.uses(page).items():
        try:
            picture = decoded_alone(items.picture(number, times))
        except (StageError, struct.error, IndexError) as error:
            if isinstance(error, StageError) and error.code not in DAMAGED:
                raise
            continue
        found[number] = picture
        decoded += picture.width * picture.height * times
        require_few(decoded, grids[0].width * grids[0].height)
    for grid in grids:
        kinds = Counter(found[number].samples for number in grid.parts if number in found)
        for number in set(grid.parts) & found.keys():
            if found[number].samples != kinds.most_common(1)[0][0]:
                del found[number]
    return found


def _donors(
    items: Items, grids: Sequence[Grid], lost: set[int], places: dict[int, tuple[int, int]]
) -> dict[int, int] | None:
    """Return a sound tile for each one that is lost; None if there is none that is described like it."""
    donors: dict[int, int] = {}
    for grid in grids:
        sound = {}
        for number in grid.parts:
            if number not in lost:
                sound[(items.configuration(number), _length(places[number]))] = number
        for number in lost & set(grid.parts):
            donor = sound.get((items.configuration(number), _length(places[number])))
            if donor is None:
                return None
            donors[number] = donor
    return donors


def _length(place: tuple[int, int]) -> int:
    return place[1] - place[0]


def _mask(grid: Grid, lost: frozenset[int]) -> pyvips.Image:
    marks = bytes(_LOST if number in lost else 0 for number in grid.parts)
    mask = pyvips.Image.new_from_memory(marks, grid.columns, grid.rows, 1, "uchar")
    return mask.zoom(grid.tile_width, grid.tile_height).crop(0, 0, grid.width, grid.height)


def _end_within(data: bytearray) -> None:
    """Let the last box of a file that is cut end with the file."""
    for at, length, wide in _top_boxes(data):
        if at + length > len(data):
            place = at + 8 if wide == 8 else at
            data[place : place + wide] = (len(data) - at).to_bytes(wide, "big")
            return


def _top_boxes(data: bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield offset and length of each box, and the bytes in which its length is stored."""
    at = 0
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        wide = 4
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            wide = 8
        if length < 8:  # 0 means: to the end of the file
            return
        yield at, length, wide
        at += length


def _places(data: bytearray) -> dict[int, tuple[int, int]]:
    """Return where the iloc box says where each item lies: from behind the item's number to the next item."""
    meta = next((at for at, _, _ in _top_boxes(data) if data[at + 4 : at + 8] == b"meta"), len(data))
    head = 16 if data[meta : meta + 4] == b"\0\0\0\1" else 8
    at = meta + head + 4
    while data[at + 4 : at + 8] != b"iloc":
        at += max(8, struct.unpack_from(">I", data, at)[0])
    version = data[at + 8]
    sizes, at = struct.unpack_from(">H", data, at + 12)[0], at + 14
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0
    wide, number_format = (4, ">I") if version == 2 else (2, ">H")
    (count,) = struct.unpack_from(number_format, data, at)
    at += wide
    places: dict[int, tuple[int, int]] = {}
    for _ in range(count):
        (number,) = struct.unpack_from(number_format, data, at)
        start = at + wide
        at = start + (2 if version else 0) + 2 + base
        (extents,) = struct.unpack_from(">H", data, at)
        at += 2 + extents * (index + offset + length)
        once(number in places)
        places[number] = (start, at)
    return places
