"""Files made to harm whoever decodes them: bombs, loops, lies, garbage, and good files with damage.

They are small, and the same in every run.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyvips

from tests.support.images import pictures

GOOD: dict[str, dict[str, Any]] = {
    "baseline.jpg": {"Q": 80},
    "progressive.jpg": {"Q": 80, "interlace": True},
    "plain.png": {},
    "interlaced.png": {"interlace": True},
    "strips.tif": {"compression": "deflate"},
    "tiles.tif": {"compression": "jpeg", "tile": True, "pyramid": True, "tile_width": 64, "tile_height": 64},
    "a.webp": {},
    "a.avif": {"effort": 0},
    "a.gif": {},
}
"""Good files by name, and how libvips saves them."""


def good(folder: Path) -> dict[str, bytes]:
    """The contents of good files, one of each kind."""
    scene = pictures.scene(180, 120)
    return {name: pictures.save(scene, folder / name, **options).read_bytes() for name, options in GOOD.items()}


def mutated(data: bytes, seed: int) -> bytes:
    """A file with one of the damages of which decoders die: flipped, cut, doubled, blown up, zeroed."""
    dice = random.Random(seed)  # noqa: S311  the same damage in every run
    broken = bytearray(data)
    match seed % 5:
        case 0:
            for _ in range(1 + len(data) // 200):
                broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
        case 1:
            del broken[dice.randrange(len(broken)) :]
        case 2:
            start = dice.randrange(len(broken))
            broken[start:start] = broken[start // 2 : start]
        case 3:
            # Lengths and sizes stand near the beginning.
            at = dice.randrange(4, 200)
            broken[at : at + 4] = b"\xff\xff\xff\x7f"
        case _:
            at = dice.randrange(len(broken))
            broken[at : at + 64] = bytes(64)
    return bytes(broken)


def bombs() -> dict[str, bytes]:
    """Small files that name large pictures."""
    return {
        "png of 60,000 squared": png(60_000, 60_000, zlib.compress(bytes(7501), 9) * 2),
        "png of the largest size": png(2**31 - 1, 2**31 - 1, b""),
        "png interlaced": png(40_000, 40_000, b"", interlaced=True),
        "jpeg of the largest size": jpeg(65_500, 65_500),
        "gif of the largest size": gif(65_535, 65_535),
        "tiff of the largest size": tiff(2**31 - 1, 2**31 - 1),
        "tiff of many bands": tiff(1000, 1000, bands=65_535),
        "tiff of one vast strip": tiff(200_000, 200_000, compression=5),
        "webp of the largest size": webp(16_383, 16_383),
        "gzip": gzip.compress(bytes(10**7)),
    }


def loops_and_lies() -> dict[str, bytes]:
    """Files whose parts point at themselves, beyond the end, or at each other; and files that only look like images."""
    ring = bytearray(tiff(16, 16))
    ring[-4:] = struct.pack("<I", 8)
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return {
        "tiff whose directories form a ring": bytes(ring),
        "tiff without directories": b"II*\0" + struct.pack("<I", 0),
        "tiff whose directory is behind the end": b"II*\0" + struct.pack("<I", 2**31),
        "tiff of a million entries": b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(12) * 65_535,
        "bigtiff of the largest count": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63 - 1),
        "svg of a billion laughs": f'<!DOCTYPE svg [<!ENTITY l0 "ha">{laughs}]><svg>&l9;</svg>'.encode(),
        "svg that includes a file": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "heif of boxes in boxes": nested_boxes(2000),
        "heif whose box is the largest": b"\0\0\0\x18ftypavif" + bytes(12) + struct.pack(">I4sQ", 1, b"meta", 2**63),
        "jpeg of markers alone": b"\xff\xd8\xff" + b"\xff" * 100_000,
        "jpeg of more passes than any program makes": passes(800, 800),
        "jpeg whose passes hide behind markers without a length": hidden_passes(800, 800),
        "jpeg of a million scans": jpeg(64, 64) + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 50_000,
        "gif without an end": gif(16, 16) + b"\x21\xfe\xff" + bytes(255) * 1000,
        "png whose chunk is the largest": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"IHDR") + bytes(99),
        "png whose profile unpacks for ever": png(16, 16, b"", chunk=(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**7)))),
        "page": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "nothing": b"",
        "one byte": b"\xff",
        "matlab file, of a loader that is not trusted": b"MATLAB 5.0 MAT-file" + bytes(300),
        "pdf, of a loader that is not trusted": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
        "ppm without its pixels": b"P6 60000 60000 255 ",
        "libvips' own format": b"\xb6\xa6\xf2\x08" + bytes(300),
    }


def garbage(seed: int) -> bytes:
    """Noise behind a format's first bytes."""
    heads = [b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"GIF89a"]
    heads += [b"RIFF\xff\xff\0\0WEBPVP8 ", b"RIFF\xff\xff\0\0WEBPVP8L", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic"]
    noise = random.Random(seed).randbytes(3000)  # noqa: S311  the same in every run
    return heads[seed % len(heads)] + noise


def corpus(folder: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of `count` hostile files, of every kind."""
    made = bombs() | loops_and_lies()
    yield from made.items()
    files = list(good(folder).items())
    for seed in range(count - len(made)):
        if seed % 4 == 3:
            yield f"garbage {seed}", garbage(seed // 4)
        else:
            name, data = files[seed % len(files)]
            yield f"{name} with damage {seed}", mutated(data, seed)


def png(
    width: int,
    height: int,
    pixels: bytes,
    *,
    interlaced: bool = False,
    chunk: tuple[bytes, bytes] | None = None,
    depth: int = 1,
) -> bytes:
    """A grey PNG of so many bits a sample, with whatever is given as its packed pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), *([chunk] if chunk else []), (b"IDAT", pixels), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def jpeg(width: int, height: int) -> bytes:
    """The head of a grey baseline JPEG, with tables and a scan that is almost empty."""
    quantisation = b"\xff\xdb\0\x43\0" + bytes([1] * 64)
    frame = b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0"
    tables = b"".join(b"\xff\xc4\0\x14" + bytes([kind]) + bytes([1]) + bytes(15) + b"\0" for kind in (0, 0x10))
    return b"\xff\xd8" + quantisation + frame + tables + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + bytes(64) + b"\xff\xd9"


def hidden_passes(width: int, height: int) -> bytes:
    """As `passes`, each scan behind TEM, which has no length (T.81, B.1.1.3)."""
    return passes(width, height).replace(b"\xff\xda", b"\xff\x01\xff\xda")


def without_components(width: int, height: int, scans: Sequence[int]) -> bytes:
    """A sequential JPEG of three components, of which only some have their scan: those of these numbers."""
    grey = jpeg_of_greys(width, height)
    start = grey.index(b"\xff\xda")
    length = 2 + int.from_bytes(grey[start + 2 : start + 4], "big")
    coded = grey[start + length : -2]
    tables = b"".join(_segments(grey[2:start], {0xDB, 0xC4}))
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + components
    parts = b"".join(b"\xff\xda\0\x08\x01" + bytes([number]) + b"\0\0\x3f\0" + coded for number in scans)
    return b"\xff\xd8" + tables + frame + parts + b"\xff\xd9"


def jpeg_of_greys(width: int, height: int) -> bytes:
    """A baseline JPEG of one component."""
    image = pyvips.Image.xyz(width, height)[0].cast("uchar").copy(interpretation="b-w")
    return bytes(image.jpegsave_buffer(Q=90, keep="none"))


def _segments(data: bytes, markers: set[int]) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] in markers:
            yield data[at : at + length]
        at += length


def passes(width: int, height: int) -> bytes:
    """A progressive JPEG of 883 scans without a fault: each bit of each coefficient in one of its own, and all zero."""
    blocks = -(-width // 8) * -(-height // 8)
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0"
    # One code a table, a single 0: "no difference" for DC, and for AC the end of a band for the whole picture at once.
    run = blocks.bit_length() - 1
    tables = b"".join(
        b"\xff\xc4\0\x14" + bytes([kind, 1]) + bytes(15) + bytes([symbol])
        for kind, symbol in ((0, 0), (0x10, run << 4))
    )
    end_of_band = f"0{blocks - (1 << run):0{run}b}"
    scans = [b"\xff\xda\0\x08\x01\x01\0\0\0\0" + _packed("0" * blocks)]
    for coefficient in range(1, 64):
        for bit in range(13, -1, -1):
            part = bytes([coefficient, coefficient, bit if bit == 13 else (bit + 1) << 4 | bit])
            scans.append(b"\xff\xda\0\x08\x01\x01\0" + part + _packed(end_of_band))
    quantisation = b"\xff\xdb\0\x43\0" + bytes([1] * 64)
    return b"\xff\xd8" + quantisation + frame + tables + b"".join(scans) + b"\xff\xd9"


def _packed(bits: str) -> bytes:
    """Coded data of a JPEG: filled up with ones, and a 0 behind each 0xFF."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def gif(width: int, height: int) -> bytes:
    """A GIF of one frame of that size, whose pixels are missing."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"


def tiff(width: int, height: int, *, bands: int = 1, compression: int = 1) -> bytes:
    """A TIFF of one strip that holds a few bytes; its last four are the place of the next directory."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, bands),
        (278, 4, height),
        (279, 4, 64),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of that size, whose pixels are missing."""
    bits = (width - 1) | (height - 1) << 14
    body = b"WEBPVP8L" + struct.pack("<IBI", 15, 0x2F, bits) + bytes(11)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def nested_boxes(depth: int) -> bytes:
    """A HEIF whose boxes lie in each other."""
    inner = b""
    for _ in range(depth):
        inner = struct.pack(">I4sI", len(inner) + 12, b"meta", 0) + inner
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + inner
