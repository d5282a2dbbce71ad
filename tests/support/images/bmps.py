"""Makers of BMPs that Pillow does not write, and of damaged ones; the pixels are Pillow's, or computed by numpy."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.images import pictures, profiles
from tests.support.images.pictures import Pixels

HEAD = 14


def bmp(
    size: tuple[int, int],
    bits: int,
    body: bytes,
    *,
    compression: int = 0,
    length: int = 40,
    tables: bytes = b"",
    more: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A BMP: `more` fills the header beyond the first 40 bytes, `tables` lie before the pixels, `behind` after them."""
    width, height = size
    info = struct.pack("<IiiHHIIiiII", length, width, height, 1, bits, compression, len(body), 0, 0, 0, 0)
    head = (info + more).ljust(length, b"\0")
    if length == 12:
        head = struct.pack("<IHHHH", length, width, height, 1, bits)
    offset = HEAD + len(head) + len(tables)
    data = head + tables + body + behind
    return struct.pack("<2sIHHI", b"BM", HEAD + len(data), 0, 0, offset) + data


def rows(pixels: Pixels, *, top_down: bool = False) -> bytes:
    """Rows of a BMP, padded to 4 bytes, the last one first."""
    stored = pixels.reshape(len(pixels), -1) if top_down else pixels.reshape(len(pixels), -1)[::-1]
    data = np.ascontiguousarray(stored).view(np.uint8)
    return np.pad(data, ((0, 0), (0, -data.shape[1] % 4))).tobytes()


def by_pillow(data: bytes, mode: str = "RGB") -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def colours(path: Path, width: int, height: int, *, bits: int, core: bool = False, runs: bool = False) -> Pixels:
    """A BMP with a palette, in rows or in runs."""
    image = Image.fromarray(pictures.scene(width, height)).quantize(2**bits, dither=Image.Dither.NONE)
    indices = np.asarray(image)
    colours = np.zeros((2**bits, 3), np.uint8)
    known = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[: 2**bits]
    colours[: len(known)] = known
    table = (colours[:, ::-1] if core else np.pad(colours[:, ::-1], ((0, 0), (0, 1)))).tobytes()
    if runs:
        body = in_runs(indices, nibbles=bits == 4)
        data = bmp((width, height), bits, body, compression=2 if bits == 4 else 1, tables=table)
    else:
        each = 8 // bits
        padded = np.pad(indices, ((0, 0), (0, -width % each))).reshape(height, -1, each).astype(int)
        packed = sum(padded[..., at] << (8 - bits * (at + 1)) for at in range(each))
        body = rows(np.asarray(packed, np.uint8))
        data = bmp((width, height), bits, body, length=12 if core else 40, tables=table)
    path.write_bytes(data)
    if bits != 2:  # which Pillow does not read
        assert np.array_equal(by_pillow(data), colours[indices])
    shown: Pixels = colours[indices]
    return shown


def in_runs(indices: Pixels, *, nibbles: bool = False) -> bytes:
    """Encode as RLE8 or RLE4: a run, then pixels as they are, and so on."""
    found = bytearray()
    for row in indices[::-1]:
        at = 0
        while at < len(row):
            run = 1
            while at + run < len(row) and row[at + run] == row[at] and run < 255:
                run += 1
            if run < 3 and len(row) - at >= 3:
                some = row[at : at + min(9, len(row) - at)]
                found += bytes([0, len(some)])
                piece = np.pad(some, (0, len(some) % 2)) if nibbles else some
                packed = bytes(piece[::2] << 4 | piece[1::2]) if nibbles else bytes(piece)
                found += packed + b"\0" * (len(packed) % 2)
                at += len(some)
            else:
                found += bytes([run, row[at] * 17 if nibbles else row[at]])
                at += run
        found += b"\0\0"
    return bytes(found[:-2] + b"\0\1")


def masked(path: Path, width: int, height: int, *, masks: tuple[int, ...], bits: int, plain: bool = False) -> Pixels:
    """A BMP whose colours are groups of bits; expected are the levels spread over 0 to 255, rounded."""
    pixels = pictures.scene(width, height, bands=len(masks)).astype(np.uint64)
    value = np.zeros((height, width), np.uint64)
    expected = np.zeros((height, width, len(masks)), np.uint8)
    for band, mask in enumerate(masks):
        lowest = mask & -mask
        most = mask // lowest
        level = pixels[..., band] * most // 255
        value |= level * np.uint64(lowest)
        expected[..., band] = np.rint(level * 255 / most)
    body = rows(value.astype(np.uint16 if bits == 16 else np.uint32))
    table = struct.pack(f"<{len(masks)}I", *masks)
    if plain:
        data = bmp((width, height), bits, body)
    elif len(masks) == 4:
        data = bmp((width, height), bits, body, compression=3, length=108, more=table)
    else:
        data = bmp((width, height), bits, body, compression=3, tables=table)
    path.write_bytes(data)
    return expected


def plain(path: Path, width: int, height: int, *, bits: int = 24, top_down: bool = False) -> Pixels:
    """RGB in bytes; with 32 bits the fourth byte has no meaning, and is not zero."""
    pixels = pictures.scene(width, height)
    stored = pixels[..., ::-1]
    if bits == 32:
        stored = np.concatenate([stored, pixels[..., :1] | 1], axis=-1)
    size = width, -height if top_down else height
    data = bmp(size, bits, rows(np.ascontiguousarray(stored), top_down=top_down))
    path.write_bytes(data)
    assert np.array_equal(by_pillow(data), pixels)
    return pixels


def with_profile(path: Path, width: int, height: int) -> Pixels:
    """A BMP that contains the profile of Display P3; expected are the colours of the same PNG."""
    pixels = pictures.scene(width, height)
    gamma = 2.19921875
    profile = profiles.rgb_profile(profiles.DISPLAY_P3, gamma)
    body = rows(np.ascontiguousarray(pixels[..., ::-1]))
    more = bytes(16) + b"DEBM" + bytes(36 + 12 + 4) + struct.pack("<II", 124 + len(body), len(profile))
    path.write_bytes(bmp((width, height), 24, body, length=124, more=more, behind=profile))
    return profiles.srgb_of(pixels, profiles.DISPLAY_P3, gamma)
