"""PNGs chunk by chunk: with chunks beside the pixels, and with a bit of one of them changed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from tests.support.images import pictures, profiles, signals
from tests.support.images.pictures import Pixels

Chunk = tuple[bytes, bytes]
"""Type and content."""

SIDEWAYS = 6
"""EXIF's orientation of an image whose first row is its right side."""

PROFILE = profiles.rgb_profile(profiles.DISPLAY_P3, 2.2)


def exif(orientation: int = SIDEWAYS) -> bytes:
    """EXIF with an orientation and with text that is no UTF-8."""
    entries = struct.pack("<HHIHxx", 0x112, 3, 1, orientation) + struct.pack("<HHI4s", 0x13B, 2, 4, b"\xe9t\xe9\0")
    return b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)


def iccp(profile: bytes = PROFILE) -> Chunk:
    return b"iCCP", b"a profile\0\0" + zlib.compress(profile)


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> Chunk:
    return b"cICP", bytes([primaries, transfer, matrix, full])


def gama(value: float) -> Chunk:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def in_space(path: Path, width: int, height: int, *, primaries: int, transfer: int) -> signals.Floats:
    """Colours of a space that the file states by code points."""
    pixels = pictures.scene(width, height)
    path.write_bytes(png(pixels, [cicp(primaries, transfer)]))
    return signals.srgb_of(pixels, primaries, transfer)


def linear(path: Path, width: int, height: int) -> signals.Floats:
    """Linear light, as the file states by its gamma."""
    pixels = pictures.scene(width, height)
    path.write_bytes(png(pixels, [gama(1.0)]))
    return signals.srgb_of(pixels, signals.BT709, signals.LINEAR)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(pixels: Pixels, before: Sequence[Chunk] = (), behind: Sequence[Chunk] = (), *, palette: bool = False) -> bytes:
    """A PNG with such chunks before and behind its pixels; `palette` has a transparent colour."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if palette:
        image.quantize(16).save(file, "PNG", transparency=3)
    else:
        image.save(file, "PNG")
    data = file.getvalue()
    first = _SIGNATURE + 25
    end = next(at for at, name, _ in found_in(data) if name == b"IEND")
    return b"".join(
        (
            data[:first],
            *(chunk(*each) for each in before),
            data[first:end],
            *(chunk(*each) for each in behind),
            data[end:],
        )
    )


def found_in(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Position, type and content's length of each chunk."""
    at = _SIGNATURE
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield at, name, length
        at += 12 + length


def changed(data: bytes, name: bytes, byte: int) -> bytes:
    """A bit changed of the first chunk of a type. `byte` is from its length (0) and its type (4) on; -1 is the last."""
    at, length = next((at, length) for at, found, length in found_in(data) if found == name)
    place = at + byte if byte >= 0 else at + 12 + length + byte
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


_SIGNATURE = 8
