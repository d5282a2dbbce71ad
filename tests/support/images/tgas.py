"""Makers of TGAs; the pixels are Pillow's where it reads them, or those that were written."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.images import pictures
from tests.support.images.pictures import Pixels

FROM_RIGHT, FROM_TOP = 0x10, 0x20
RUNS = 8


def tga(
    size: tuple[int, int],
    kind: int,
    depth: int,
    body: bytes,
    *,
    flags: int = 0,
    note: bytes = b"",
    table: tuple[int, int, int] = (0, 0, 0),
    colours: bytes = b"",
) -> bytes:
    """A TGA; `table` is the first entry, their number, and their bits."""
    head = struct.pack("<BBBHHBHHHHBB", len(note), bool(table[1]), kind, *table, 0, 0, *size, depth, flags)
    return head + note + colours + body


def in_runs(pixels: bytes, each: int) -> bytes:
    """Encode as runs that go on from row to row, as old programs wrote them."""
    items = [pixels[at : at + each] for at in range(0, len(pixels), each)]
    found, at = bytearray(), 0
    while at < len(items):
        run = 1
        while at + run < len(items) and items[at + run] == items[at] and run < 128:
            run += 1
        if run > 1:
            found += bytes([127 + run]) + items[at]
            at += run
        else:
            some = items[at : at + 7]
            found += bytes([len(some) - 1]) + b"".join(some)
            at += len(some)
    return bytes(found)


def plain(
    path: Path, width: int, height: int, *, bands: int = 3, flags: int = 0, runs: bool = False, note: bytes = b""
) -> Pixels:
    """Grey, or RGB, with alpha or without."""
    pixels = pictures.scene(width, height, bands=bands)
    pixels[: height // 2] &= 0xE0  # so that there are runs
    stored = pixels if flags & FROM_TOP else pixels[::-1]
    stored = stored[:, ::-1] if flags & FROM_RIGHT else stored
    if bands > 2:
        stored = stored[..., [2, 1, 0, 3][:bands]]
    body = np.ascontiguousarray(stored).tobytes()
    kind = (2 if bands > 2 else 3) + RUNS * runs
    has_alpha = bands in {2, 4}
    data = tga(
        (width, height),
        kind,
        8 * bands,
        in_runs(body, bands) if runs else body,
        flags=flags | 8 * has_alpha,
        note=note,
    )
    path.write_bytes(data)
    shown = pixels if bands > 2 else np.concatenate([pixels[..., :1].repeat(3, axis=2), pixels[..., 1:]], axis=2)
    if not flags & FROM_RIGHT and not runs:  # Pillow refuses runs over the end of a row
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image.convert("RGBA" if has_alpha else "RGB")), shown)
    return shown


def one_bit(path: Path, width: int, height: int) -> Pixels:
    """Black and white, eight pixels a byte, which only Pillow writes."""
    bits = pictures.scene(width, height)[..., 0] > 100
    Image.fromarray(bits).save(path)
    return np.where(bits[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)


def by_pillow(path: Path, width: int, height: int, *, mode: str = "RGB") -> Pixels:
    """A TGA in runs as Pillow writes it."""
    image = Image.fromarray(pictures.scene(width, height, bands=4 if mode == "RGBA" else 3))
    image.save(path, compression="tga_rle")
    with Image.open(path) as again:
        return np.asarray(again.convert(mode))


def palette(path: Path, width: int, height: int, *, bits: int = 24, first: int = 0, runs: bool = False) -> Pixels:
    """Colours of a palette, whose entries before `first` are not stored."""
    image = Image.fromarray(pictures.scene(width, height)).quantize(200, dither=Image.Dither.NONE)
    colours = np.zeros((256, 3), np.uint8)
    known = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    colours[: len(known)] = known
    indices = np.asarray(image)
    if bits == 16:
        five = np.rint(colours.astype(float) * 31 / 255).astype(np.uint16)
        entries = (five[:, 0] << 10 | five[:, 1] << 5 | five[:, 2]).astype("<u2").tobytes()
        colours = np.rint(five * 255 / 31).astype(np.uint8)
    else:
        entries = np.ascontiguousarray(colours[:, ::-1]).tobytes()
    body = np.ascontiguousarray(indices[::-1] + first).astype(np.uint8).tobytes()
    count = 256 - first
    data = tga(
        (width, height),
        1 + RUNS * runs,
        8,
        in_runs(body, 1) if runs else body,
        table=(first, count, bits),
        colours=entries[: count * bits // 8],
    )
    path.write_bytes(data)
    shown: Pixels = colours[indices]
    return shown


def fives(path: Path, width: int, height: int, *, has_alpha: bool = False) -> Pixels:
    """16 bits a pixel: five for each colour, and maybe one of alpha."""
    pixels = pictures.scene(width, height, bands=4)
    five = np.rint(pixels[..., :3].astype(float) * 31 / 255).astype(np.uint16)
    alpha = (pixels[..., 3] > 127).astype(np.uint16)
    value = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2] | alpha << 15
    path.write_bytes(tga((width, height), 2, 16, value[::-1].astype("<u2").tobytes(), flags=int(has_alpha)))
    shown = np.rint(five * 255 / 31).astype(np.uint8)
    return np.concatenate([shown, alpha[..., None].astype(np.uint8) * 255], axis=2) if has_alpha else shown


def with_footer(path: Path, width: int, height: int, *, attributes: int) -> Pixels:
    """A TGA of version 2 whose extension area says what its alpha is: 1 nothing, 3 alpha, 4 multiplied into colours."""
    pixels = pictures.scene(width, height, bands=4)
    if attributes == 4:
        pixels[..., 3] |= 0x80
    colours = pixels[..., :3].astype(float)
    stored = np.rint(colours * pixels[..., 3:] / 255) if attributes == 4 else colours
    whole = np.concatenate([stored[..., ::-1], pixels[..., 3:]], axis=2).astype(np.uint8)
    data = tga((width, height), 2, 32, np.ascontiguousarray(whole[::-1]).tobytes(), flags=8)
    extension = struct.pack("<H", 495) + bytes(492) + bytes([attributes])
    path.write_bytes(data + extension + struct.pack("<II18s", len(data), 0, b"TRUEVISION-XFILE.\0"))
    return pixels[..., :3] if attributes < 3 else pixels
