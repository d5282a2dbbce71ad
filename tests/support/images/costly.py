"""Small files that ask for much work, byte by byte: each would hold a decoder for long that does what it is told."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import imagecodecs
import numpy as np
import pyvips

from tests.support.images import hostile


def thin_png(length: int, *, interlaced: bool = False) -> bytes:
    """A white PNG of one pixel's width."""
    white = (pyvips.Image.black(1, length) + 255).cast("uchar").copy(interpretation="b-w")
    return bytes(white.pngsave_buffer(compression=9, bitdepth=1, interlace=interlaced))


def unlike_tiles(length: int) -> bytes:
    """A black PNG of one pixel's width, with three grey dots in each 256 rows: no tile is like another."""
    dice = np.random.default_rng(2)
    rows = np.zeros((length // 256, 256, 2), np.uint8)  # a filter's number, and the one pixel
    rows[:, [40, 120, 200], 1] = dice.integers(1, 256, (length // 256, 3))
    return hostile.png(1, length // 256 * 256, zlib.compress(rows.tobytes(), 9), depth=8)


def noise_by_filter(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel whose rows are alike, and by PNG's filter (3, the average) become noise."""
    row = width // 8
    first = b"\0" + np.random.default_rng(1).bytes(row)
    packer = zlib.compressobj(9)
    rows = packer.compress(first) + packer.compress((b"\3" + b"\x4d" * row) * (height - 1)) + packer.flush()
    return hostile.png(row * 8, height, rows)


def many_bands(edge: int, bands: int) -> bytes:
    """A square TIFF of so many bands, in strips of 64 rows: one run of zstd for all of them, 4 bytes for 128 kB."""
    size, left = edge * bands * 64, edge * bands * 64
    strip = struct.pack("<IBQ", 0xFD2FB528, 0xE0, size)
    while left:
        run = min(left, 1 << 17)
        left -= run
        strip += struct.pack("<I", run << 3 | 0b10 | (not left))[:3] + b"\x55"
    count, behind = edge // 64, len(_HEAD) + 2 + 12 * (len(_TAGS) + 1) + 4
    lengths = behind + 4 * count
    others = lengths + 4 * count
    strip_at = others + 2 * (bands - 1)
    more: dict[int, int | tuple[int, int]] = {
        258: 8,
        259: 50_000,
        273: (count, behind),
        277: bands,
        278: 64,
        279: (count, lengths),
    }
    extra = struct.pack("<HHII", 338, 3, bands - 1, others)
    tables = struct.pack(f"<{count}I", *[strip_at] * count) + struct.pack(f"<{count}I", *[len(strip)] * count)
    return _HEAD + _directory(edge, edge, more, extra) + bytes(4) + tables + bytes(2 * (bands - 1)) + strip


def shared_tiles(across: int) -> bytes:
    """A TIFF of `across` x `across` tiles of one colour that share their bytes, with alpha; the last is damaged."""
    edge, count = 512, across**2
    tile = imagecodecs.lzw_encode(np.full((edge, edge, 4), (90, 0, 0, 200), np.uint8).tobytes())
    tile += bytes(len(tile) % 2)
    damaged = tile[: len(tile) // 2] + bytes(len(tile) - len(tile) // 2)
    behind = len(_HEAD) + 2 + 12 * 11 + 4
    offsets = struct.pack(f"<{count}I", *[behind] * (count - 1), behind + len(tile))
    lengths = struct.pack(f"<{count}I", *[len(tile)] * count)
    bits_at = behind + 2 * len(tile)
    offsets_at = bits_at + 8
    tags = {
        256: (4, 1, across * edge),
        257: (4, 1, across * edge),
        258: (3, 4, bits_at),
        259: (4, 1, 5),
        262: (4, 1, 2),
        277: (4, 1, 4),
        322: (4, 1, edge),
        323: (4, 1, edge),
        324: (4, count, offsets_at),
        325: (4, count, offsets_at + len(offsets)),
        338: (3, 1, 2),
    }
    entries = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return _HEAD + directory + tile + damaged + struct.pack("<4H", *[8] * 4) + offsets + lengths


def apng(width: int, height: int, frames: int) -> bytes:
    """An animated PNG of one colour: the frames that follow the first are chunks that PNG itself does not know."""
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    plain = hostile.png(width, height, rows, chunk=(b"acTL", struct.pack(">II", frames, 0)))
    more = b"".join(_chunk(b"fcTL", control) + _chunk(b"fdAT", bytes(4) + rows) for _ in range(frames - 1))
    return plain[:-12] + more + plain[-12:]


def turned(edge: int) -> bytes:
    """A PNG of one bit a pixel that shows through, and is to be turned by EXIF: it has four bytes a pixel then."""
    rows = zlib.compress(bytes(edge // 8 + 1) * edge, 9)
    exif = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0)
    plain = hostile.png(edge, edge, rows, chunk=(b"tRNS", bytes(2)))
    return plain[:33] + _chunk(b"eXIf", exif) + plain[33:]


def pages(count: int) -> bytes:
    """A TIFF of so many pages of one pixel, each a directory of its own."""
    length = 2 + 12 * len(_TAGS) + 4
    following = [*range(10 + length, 10 + length * count, length), 0]
    return _HEAD + b"".join(_directory(1, 1) + struct.pack("<I", place) for place in following)


def below(count: int, edge: int) -> bytes:
    """A TIFF of one plain page, large enough for a preview, that names one directory so many times below it."""
    rows = zlib.compress(bytes(edge * edge), 9)
    behind = len(_HEAD) + 2 + 12 * (len(_TAGS) + 1) + 4
    more = {259: 8, 273: behind + 4 * count, 279: len(rows)}
    below_it = struct.pack("<HHII", 330, 4, count, behind)
    names = struct.pack(f"<{count}I", *[len(_HEAD)] * count)
    return _HEAD + _directory(edge, edge, more, below_it) + bytes(4) + names + rows


def restarts(edge: int) -> bytes:
    """A grey baseline JPEG with a restart behind each block."""
    return bytes(pyvips.Image.black(edge, edge).jpegsave_buffer(restart_interval=1, optimize_coding=True, keep="none"))


def carrying(edge: int) -> bytes:
    """A plain progressive JPEG whose EXIF thumbnail is another of so many pixels, in 883 passes."""
    plain = pyvips.Image.black(edge, edge).jpegsave_buffer(interlace=True, keep="none")
    small = hostile.passes(1440, 1440)[:65_000]
    directory = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 44, 514, 4, 1, len(small), 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 14) + directory
    exif = exif.ljust(6 + 44, b"\0") + small
    return bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])


def noise(edge: int, suffix: str, **options: object) -> bytes:
    """An honest file: soft noise, which no encoder makes small."""
    dice = np.random.default_rng(1).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    soft = pyvips.Image.new_from_array(dice).copy(interpretation="srgb").gaussblur(1)
    return bytes(soft.write_to_buffer(suffix, **options))


_TAGS = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
_HEAD = struct.pack("<2sHI2x", b"II", 42, 10)


def _directory(
    width: int, height: int, more: Mapping[int, int | tuple[int, int]] | None = None, last: bytes = b""
) -> bytes:
    """Give a directory; a value is a number, or how many there are and where they lie."""
    tags = {**_TAGS, 256: width, 257: height, 278: height, **(more or {})}
    counted = {tag: value if isinstance(value, tuple) else (1, value) for tag, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, *pair) for tag, pair in counted.items()) + last
    return struct.pack("<H", len(entries) // 12) + entries


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
