"""TIFFs of every compression that is read, in strips and in tiles, whole and with one of these damaged."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from imagecodecs import jpeg8_encode, lzw_encode
from PIL import Image

from tests.support.images import makers, pictures, tiffs, ycbcr_tiffs, zstd_tiffs
from tests.support.images.pictures import Pixels

WIDTH, HEIGHT = 200, 136
EDGE, ROWS = 64, 32
"""Of a tile, and rows of a strip: neither fits the picture."""

Maker = Callable[[Path, bool], Pixels]
"""Writes a picture, in tiles or in strips, and gives the RGB pixels that it must become."""


def _by_tifffile(path: Path, tiled: bool, **options: Any) -> Pixels:
    pixels = pictures.scene(WIDTH, HEIGHT)
    cut: dict[str, Any] = {"tile": (EDGE, EDGE)} if tiled else {"rowsperstrip": ROWS}
    zstd_tiffs.save(path, pixels, **(options | cut))
    if options["compression"] == "jpeg":
        pixels = np.asarray(tifffile.imread(path))
    return pixels


def _fax(path: Path, tiled: bool, *, compression: int, name: str) -> Pixels:
    """Black and white, compressed by the libtiff of Pillow, which writes no tiles."""
    grey = pictures.scene(WIDTH, HEIGHT, bands=1)[..., 0]
    marks = ((grey // 16) % 2).astype(np.uint8)[..., None]
    width = EDGE if tiled else WIDTH

    def encode(data: bytes) -> bytes:
        rows = np.frombuffer(data, np.uint8).reshape(-1, -(-width // 8))
        saved = io.BytesIO()
        page = Image.fromarray(np.unpackbits(rows, axis=1)[:, :width].astype(bool))
        page.save(saved, "TIFF", compression=name, tiffinfo={278: len(rows)})
        with tifffile.TiffFile(io.BytesIO(saved.getvalue())) as written:
            ((at,), (length,)) = written.pages.first.dataoffsets, written.pages.first.databytecounts
            return saved.getvalue()[at : at + length]

    cut: dict[str, Any] = {"tile": EDGE} if tiled else {"rows": ROWS}
    tiffs.write(path, marks, bits=1, compression=compression, encode=encode, **cut)
    return np.repeat(marks * 255, 3, axis=2)


READ: dict[int, Maker] = {
    1: partial(_by_tifffile, compression="none"),
    2: partial(_fax, compression=2, name="tiff_ccitt"),
    3: partial(_fax, compression=3, name="group3"),
    4: partial(_fax, compression=4, name="group4"),
    5: partial(_by_tifffile, compression="lzw"),
    7: partial(_by_tifffile, compression="jpeg"),
    8: partial(_by_tifffile, compression="zlib"),
    32773: partial(_by_tifffile, compression="packbits"),
    32946: partial(_by_tifffile, compression="deflate"),
    34925: partial(_by_tifffile, compression="lzma"),
    50000: partial(_by_tifffile, compression="zstd"),
    50001: partial(_by_tifffile, compression="webp", compressionargs={"lossless": True}),
}
"""By the compression's number."""


def unread(path: Path, compression: int, *, tiled: bool) -> Path:
    """A picture whose compression nobody here reads: what stands for its strips or tiles is noise."""
    pixels = pictures.noise(EDGE, EDGE)
    cut: dict[str, Any] = {"tile": 32} if tiled else {"rows": 16}
    return tiffs.write(path, pixels, compression=compression, encode=lambda data: data[:500], **cut)


def unread_at_the_end(path: Path, compression: int, cut: int) -> Path:
    """Write what `unread` writes, in tiles, its directory at the file's end, and leave out the last bytes."""
    data = unread(path, compression, tiled=True).read_bytes()
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    moved = data[:4] + struct.pack("<I", len(data)) + data[8:] + data[first : first + 2 + 12 * count + 4]
    path.write_bytes(moved[: len(moved) - cut])
    return path


def overcounted(path: Path) -> Path:
    """Write a TIFF of one tile whose directory says that it has a million, more than the file could name."""
    tiffs.write(path, pictures.scene(64, 64), tile=64)
    data = path.read_bytes()
    at = data.index(struct.pack("<HH", 325, 4))
    path.write_bytes(data[: at + 4] + struct.pack("<I", 1 << 20) + data[at + 8 :])
    return path


def overlong(folder: Path) -> Iterator[Path]:
    """Write BigTIFFs of 4 kB with an entry that is said to have up to 2**64 - 1 values."""
    tiles: dict[int, tuple[int, Sequence[int]]] = {
        **{tag: (3, [16]) for tag in (256, 257, 322, 323)},
        258: (3, [8] * 4),
        259: (3, [7]),
        262: (3, [5]),
        277: (3, [4]),
        324: (16, [1000]),
        325: (16, [1000]),
    }
    strips: dict[int, tuple[int, Sequence[int]]] = {
        **{tag: (3, [16]) for tag in (256, 257, 278)},
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        273: (16, [1000]),
        277: (3, [1]),
        279: (16, [256]),
    }
    mosaic = strips | {262: (3, [32803])}
    for name, tags, tag, kind in (
        *(("maker", mosaic, 271, 2), ("tables", tiles, 347, 7), ("profile", strips, 34675, 7)),
        *(("palette", strips | {262: (3, [3])}, 320, 3), ("offsets", strips, 273, 16), ("below", strips, 330, 16)),
        *(("text", strips, 270, 2), ("nodata", strips, 42113, 2)),
    ):
        for power in (40, 63, 64):
            entries = b""
            for each, (its_kind, values) in sorted((tags | {tag: (kind, [300])}).items()):
                count = (1 << power) - 1 if each == tag else len(values)
                raw = (
                    struct.pack("<Q", 300)
                    if each == tag
                    else struct.pack(f"<{len(values)}{'HQ'[its_kind == 16]}", *values)
                )
                entries += struct.pack("<HHQ", each, its_kind, count) + raw.ljust(8, b"\0")
            head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(entries) // 20)
            path = folder / f"overlong-{name}-{power}.tif"
            path.write_bytes((head + entries).ljust(4096, b"\0"))
            yield path


COMMENT = b"\xff\xfe\xff\xf0" + bytes(0xFFEE)
HIDDEN_BY = {
    "nothing": b"",
    "TEM": b"\xff\x01",
    "RST0": b"\xff\xd0",
    "fill bytes": b"\xff" * 5,
    "comments": 5 * COMMENT,
    "an empty segment": b"\xff\xe5\0\0",
    "stray bytes": b"\0\0",
}
"""What stands between a JPEG's beginning and its frame's header."""


def small_jpeg(path: Path, hidden_by: bytes) -> Path:
    """Write a TIFF of four JPEG tiles, of which the second has a quarter of a tile's pixels."""
    whole, small = (bytes(jpeg8_encode(pictures.scene(edge, edge), level=95)) for edge in (EDGE, EDGE // 2))
    tiles = iter([whole, small[:2] + hidden_by + small[2:], whole, whole])
    pixels = pictures.scene(2 * EDGE, 2 * EDGE)
    more = {530: ("H", [2, 2])}
    return tiffs.write(
        path, pixels, photometric=tiffs.YCBCR, tile=EDGE, compression=7, encode=lambda _: next(tiles), more=more
    )


def entry(path: Path, tag: int, number: int, value: int, kind: int = 0) -> Path:
    """Change one value of an entry of a little-endian TIFF, or its type."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        found = page.tags[tag]
    size = {1: 1, 3: 2, 4: 4}[int(found.dtype)]
    at = found.valueoffset + number * size
    data[at : at + size] = value.to_bytes(size, "little")
    if kind:
        data[found.offset + 2 : found.offset + 4] = kind.to_bytes(2, "little")
    path.write_bytes(data)
    return path


def counted(path: Path, tag: int, values: int) -> Path:
    """Change the number of values that an entry of a little-endian TIFF is said to have."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        at = page.tags[tag].offset
    data[at + 4 : at + 8] = values.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def misdescribed(folder: Path) -> Iterator[Path]:
    """Write TIFFs with an entry of a wrong type or number of values: libtiff ignores it, and shows other pixels."""
    for name, number, encode in (("none", 1, bytes), ("lzw", 5, lzw_encode), ("zlib", 8, zlib.compress)):
        options: dict[str, Any] = {"compression": number, "encode": encode, "rows": 40}
        for what, change in (("kind", partial(entry, tag=320, number=0, value=0, kind=2)), ("count", _fewer_colours)):
            path = folder / f"palette-{what}-{name}.tif"
            makers.palette(path, 96, 64, bits=8, **options)
            yield change(path)
        grey = pictures.scene(96, 96, bands=1)
        for cut in ({"tile": 32}, {"rows": 12}):
            tag, count = (324, 9) if "tile" in cut else (273, 8)
            path = tiffs.write(folder / f"offsets-{tag}-{name}.tif", grey, **(options | {"rows": 0} | cut))
            yield counted(path, tag, count - 1)
        turned = {274: ("H", [6])}
        yield counted(tiffs.write(folder / f"turned-{name}.tif", grey, more=turned, **options), 274, 3)
        way = ycbcr_tiffs.Way(number, (2, 1), apart=False, tiled=False)
        ycbcr_tiffs.write(folder / f"ycbcr-{name}.tif", way, {529: ("I", [299, 1000, 587, 1000, 114, 1000])})
        yield folder / f"ycbcr-{name}.tif"


def _fewer_colours(path: Path) -> Path:
    return counted(path, 320, 3 * 128)


def unsound(folder: Path) -> Iterator[Path]:
    """Write TIFFs whose directories lie about where pixels are, in ways that decoders take for a picture."""
    for name, hidden_by in HIDDEN_BY.items():
        yield small_jpeg(folder / f"jpeg-{name.replace(' ', '-')}.tif", hidden_by)
    yield from misdescribed(folder)
    pixels = pictures.scene(2 * EDGE, 2 * EDGE)
    for compression, encode in ((1, bytes), (8, zlib.compress), (50000, zstd_tiffs.compress)):
        options: dict[str, Any] = {"compression": compression, "encode": encode}
        # Of the third plane one tile has no bytes, and then all four have none
        for name, numbers in (("tile", [9]), ("plane", [8, 9, 10, 11])):
            path = tiffs.write(folder / f"no-{name}-{compression}.tif", pixels, planar=True, tile=EDGE, **options)
            for number in numbers:
                entry(path, 325, number, 0)
            yield path
        for name, tag in (("planar", 284), ("samples", 277)):
            path = tiffs.write(folder / f"signed-{name}-{compression}.tif", pixels, **options)
            yield entry(path, tag, 0, 2 if tag == 284 else 3, kind=8)
    yield entry(tiffs.write(folder / "tile-at-0.tif", pixels, tile=EDGE), 324, 1, 0)
    yield entry(tiffs.write(folder / "strip-at-0.tif", pixels, rows=32), 273, 1, 0)
    yield tiffs.write(folder / "two-planars.tif", pixels, more={284: ("H", [1, 2])})


def _noise(data: bytes, _: bytes) -> bytes:
    return random.Random(11).randbytes(len(data))  # noqa: S311  a test's, not a secret's


def _zeros(data: bytes, _: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def _another(data: bytes, other: bytes) -> bytes:
    """As of a file put together wrongly."""
    return (data[: len(data) // 2] + other[len(other) // 3 :])[: len(data)].ljust(len(data), b"\x55")


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {"noise": _noise, "zeros": _zeros, "mixed": _another}
LENGTHS = {"cut": 2, "gone": 0}
"""Damages of the list of lengths: by what a length is divided, or 0 for none at all."""

PLACES = ("first", "middle", "last", "edge")


def damaged(path: Path, damage: str, place: str) -> None:
    """Damage one strip or tile of a file."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        offsets, lengths = page.dataoffsets, page.databytecounts
        tag = page.tags[325 if page.is_tiled else 279]
        across = -(-WIDTH // EDGE) if page.is_tiled else 1
    number = {"first": 0, "middle": len(offsets) // 2, "last": len(offsets) - 1, "edge": across - 1}[place]
    data = bytearray(path.read_bytes())
    at, length = offsets[number], lengths[number]
    if damage in LENGTHS:
        size = {3: 2, 4: 4}[int(tag.dtype)]
        value = length // LENGTHS[damage] if LENGTHS[damage] else 0
        first = tag.valueoffset + number * size
        data[first : first + size] = struct.pack("<H" if size == 2 else "<I", value)
    else:
        other = offsets[number - 1], lengths[number - 1]
        data[at : at + length] = DAMAGES[damage](bytes(data[at : at + length]), bytes(data[other[0] : sum(other)]))
    path.write_bytes(data)


def another_reader(path: Path) -> Pixels | None:
    """The RGB pixels that tifffile and imagecodecs make of a file; None where they refuse it."""
    try:
        found = np.asarray(tifffile.imread(path))
    except Exception:  # noqa: BLE001  whatever a damaged file makes it raise
        return None
    if found.dtype == bool:
        found = found.astype(np.uint8) * 255
    return np.repeat(found[..., None], 3, axis=2) if found.ndim == 2 else found
