"""HEIFs and AVIFs of any items, sound or not. Sources: ISO/IEC 14496-12 8.11 (items), ISO/IEC 23008-12 6.5 and 6.6."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyvips

from tests.support.images import heics, pictures
from tests.support.images.pictures import Pixels

CODECS = {"heic": (b"hvc1", b"hvcC"), "avif": (b"av01", b"av1C")}

EDGE = 64
"""Of the tiles of `grid`, of which it has two by two."""

SIDE = 2 * EDGE

ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
DEPTH = b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0"
GAIN = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"


@dataclass(frozen=True)
class Item:
    """One item, its data and its properties, each a whole box; `parts` are what it is derived of."""

    number: int
    kind: bytes
    data: bytes
    properties: Sequence[bytes] = ()
    parts: Sequence[int] = ()
    hidden: bool = False
    references: Mapping[bytes, Sequence[int]] = field(default_factory=dict)


def taken(number: int, file: bytes, brand: str) -> Item:
    """The one picture of a file."""
    kind, configuration = CODECS[brand]
    kept = [inner(file, name) for name in (configuration, b"colr", b"pixi", b"ispe") if name in file]
    return Item(number, kind, file[file.index(b"mdat") + 4 :], kept)


def coded(number: int, pixels: Pixels, brand: str, *, hidden: bool = True, coarse: bool = False) -> Item:
    """A picture that HEVC or AV1 has coded, without loss, or with colours at half the resolution."""
    kind, configuration = CODECS[brand]
    height, width = pixels.shape[:2]
    if brand == "avif":
        image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")
        saving: dict[str, Any] = {"subsample_mode": "on"} if coarse else {"lossless": True}
        file = bytes(image.heifsave_buffer(compression="av1", effort=0, keep="none", **saving))
    else:
        options = {"quality": 90, "chroma": 420, "matrix_coefficients": 6} if coarse else {}
        file = heics.encoded(np.ascontiguousarray(pixels), **options)
    kept = [inner(file, name) for name in (configuration, b"colr", b"pixi") if name in file]
    return Item(number, kind, file[file.index(b"mdat") + 4 :], [*kept, size(width, height)], hidden=hidden)


def size(width: int, height: int) -> bytes:
    return _box(b"ispe", struct.pack(">III", 0, width, height))


def nclx(primaries: int, transfer: int, matrix: int) -> bytes:
    """The statement of a colour space, of full range."""
    return _box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, 0x80))


def turn(quarters: int) -> bytes:
    return _box(b"irot", bytes([quarters]))


def mirror(axis: int) -> bytes:
    return _box(b"imir", bytes([axis]))


def mirrored(pixels: Pixels, axis: int) -> Pixels:
    """As `mirror` shows them: top and bottom swapped (0), or left and right (1), by the edition of 2022, 6.5.12."""
    return pixels[::-1] if axis == 0 else pixels[:, ::-1]


def layout(columns: int, rows: int, width: int, height: int) -> bytes:
    """The data of a grid."""
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def grid(
    brand: str, change: Callable[[Item], Item] | None = None, *, first: int = 2, edge: int = EDGE, least: int = 0
) -> list[Item]:
    """Four tiles and the grid that shows them as `grid_pixels`, which lies before them in the file.

    Parameters
    ----------
    change: is made to the second tile.
    least: of all samples.
    """
    scene, side = np.maximum(grid_pixels(edge), least), 2 * edge
    corners = [(0, 0), (0, edge), (edge, 0), (edge, edge)]
    tiles = [coded(first + n, scene[y : y + edge, x : x + edge], brand) for n, (y, x) in enumerate(corners)]
    if change:
        tiles[1] = change(tiles[1])
    top = Item(1, b"grid", layout(2, 2, side, side), [size(side, side)], [tile.number for tile in tiles])
    return [top, *tiles]


def grid_pixels(edge: int = EDGE) -> Pixels:
    return pictures.scene(2 * edge, 2 * edge)


def noisy(item: Item, *, length: int = 8) -> Item:
    """With noise in the middle of its data."""
    at = len(item.data) // 2
    noise = bytes(byte ^ 0xA5 for byte in item.data[at : at + length])
    return replace(item, data=item.data[:at] + noise + item.data[at + length :])


def thumbnail(item: Item, of: int) -> Item:
    """As that of another one."""
    return replace(item, references={b"thmb": [of]}, hidden=True)


def resized(item: Item, width: int, height: int) -> Item:
    """That says that it has another size."""
    kept = [found for found in item.properties if found[4:8] != b"ispe"]
    return replace(item, properties=[*kept, size(width, height)])


def transparency(item: Item, of: int, kind: bytes = ALPHA) -> Item:
    """As that of another one, or another auxiliary picture of it."""
    return replace(item, properties=[*item.properties, _box(b"auxC", bytes(4) + kind)], references={b"auxl": [of]})


def with_alpha(brand: str, kind: bytes = ALPHA, *, hidden: bool = True) -> bytes:
    """A picture with another one that is its transparency, or of another kind. Encoders list it without hiding it."""
    alpha = coded(2, grid_pixels(), brand, hidden=hidden)
    return file_of([coded(1, grid_pixels(), brand, hidden=False), transparency(alpha, 1, kind)], brand)


def without_alpha(brand: str) -> dict[str, bytes]:
    """As `with_alpha`, with one changed bit in what connects the two, whether the transparency is hidden or not."""
    found = {}
    for hidden, whole in (("", with_alpha(brand)), ("listed-", with_alpha(brand, hidden=False))):
        for name in (b"iref", b"auxl", b"auxC", b"urn:", b"alpha") if not hidden else (b"iref", b"auxl"):
            for byte in range(len(name)):
                at = whole.index(name) + byte
                changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
                found[f"{hidden}{name.decode().strip(':')}-{byte}"] = changed
    return found


def sound(brand: str) -> dict[str, bytes]:
    """Pictures with hidden ones that are not shown with them: of depth, of gain, small, or in a group."""
    first, second = coded(1, grid_pixels(), brand, hidden=False), coded(2, grid_pixels(), brand)
    return {
        "alpha": with_alpha(brand),
        "listed-alpha": with_alpha(brand, hidden=False),
        "depth": with_alpha(brand, DEPTH),
        "gain": with_alpha(brand, GAIN),
        "thumbnail": file_of([first, thumbnail(second, 1)], brand),
        "both": file_of([first, replace(second, hidden=False)], brand),
    }


def file_of(items: Sequence[Item], brand: str, *, primary: int = 1) -> bytes:
    """A file of these items, their data in their order."""
    properties = list(dict.fromkeys(found for item in items for found in item.properties))
    kinds = b"".join(
        _box(b"infe", struct.pack(">BBBBHH4sB", 2, 0, 0, item.hidden, item.number, 0, item.kind, 0)) for item in items
    )
    associations = b"".join(
        struct.pack(">HB", item.number, len(item.properties))
        + b"".join(struct.pack(">B", properties.index(found) + 1) for found in item.properties)
        for item in items
    )
    references = b"".join(
        _box(name, struct.pack(f">HH{len(targets)}H", item.number, len(targets), *targets))
        for item in items
        for name, targets in [*([(b"dimg", item.parts)] if item.parts else []), *item.references.items()]
    )

    def meta(at: int) -> bytes:
        places = b""
        for item in items:
            places += struct.pack(">HHHII", item.number, 0, 1, at, len(item.data))
            at += len(item.data)
        boxes = [
            _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            _box(b"pitm", struct.pack(">IH", 0, primary)),
            _box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)) + places),
            _box(b"iinf", struct.pack(">IH", 0, len(items)) + kinds),
            _box(b"iref", bytes(4) + references) if references else b"",
            _box(
                b"iprp",
                _box(b"ipco", b"".join(properties)) + _box(b"ipma", struct.pack(">II", 0, len(items)) + associations),
            ),
        ]
        return _box(b"meta", bytes(4) + b"".join(boxes))

    head = _box(b"ftyp", brand.encode() + bytes(4) + b"mif1" + brand.encode())
    return head + meta(len(head) + len(meta(0)) + 8) + _box(b"mdat", b"".join(item.data for item in items))


def turned(edge: int, times: int) -> bytes:
    """A small AVIF of one tile, shown sixteen times, and turned as a whole."""
    tile = coded(2, np.full((edge // 4, edge // 4, 3), 200, np.uint8), "avif")
    top = Item(1, b"grid", layout(4, 4, edge, edge), [size(edge, edge), *[turn(1)] * times], [2] * 16)
    return file_of([top, tile], "avif")


def inner(file: bytes, kind: bytes) -> bytes:
    """A whole box of a file, found by its name."""
    at = file.index(kind) - 4
    (length,) = struct.unpack_from(">I", file, at)
    return file[at : at + length]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


CORNERS = [(0, 0), (0, EDGE), (EDGE, 0), (EDGE, EDGE)]
