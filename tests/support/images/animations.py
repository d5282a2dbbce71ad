"""Animations byte by byte: of a few bytes a frame, on canvases that no encoder would be asked for."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyvips

from tests.support.images.pictures import Pixels

_BITS = 4
TABLE = bytes(level * factor % 256 for level in range(1 << _BITS) for factor in (17, 59, 131))
"""Colours of a GIF by its pixels' numbers, 0 to 15."""

KEEP, CLEAR, RESTORE, RESTORE_TOO = 1, 2, 3, 4
"""What becomes of a frame's area before the next one is drawn."""


class Drawn(NamedTuple):
    """A frame of a GIF: its place, its pixels as numbers of colours, in rows, and what becomes of it.

    `disposal` is None in a frame without a control block; `transparent` is the colour that shows what was there before.
    """

    left: int
    top: int
    pixels: Pixels
    disposal: int | None = KEEP
    transparent: int | None = None
    interlaced: bool = False
    table: bytes = b""


def drawn(width: int, height: int, frames: Sequence[Drawn]) -> bytes:
    """A GIF of frames."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | _BITS - 1, 5, 0) + TABLE
    return head + b"".join(_frame(frame) for frame in frames) + b";"


def as_browsers_show(width: int, height: int, frames: Sequence[Drawn]) -> Iterator[Pixels]:
    """Each page of such a GIF in RGBA: nothing but what its frames draw is there, and what they take away is not."""
    canvas = np.zeros((height, width, 4), np.uint8)
    for frame in frames:
        before = canvas.copy()
        down, across = frame.pixels.shape
        place = canvas[frame.top : frame.top + down, frame.left : frame.left + across]
        inside = frame.pixels[: place.shape[0], : place.shape[1]]
        colours = np.frombuffer(frame.table or TABLE, np.uint8).reshape(-1, 3)[inside]
        opaque = np.ones(inside.shape, bool) if frame.transparent is None else inside != frame.transparent
        place[opaque] = np.dstack([colours, np.full(inside.shape, 255, np.uint8)])[opaque]
        yield canvas.copy()
        if frame.disposal == CLEAR:
            place[:] = 0
        elif frame.disposal in {RESTORE, RESTORE_TOO}:
            canvas = before


def at_random(chance: random.Random) -> tuple[int, int, list[Drawn]]:
    """Width and height of a canvas, and up to five frames that do whatever frames may do, except what is refused."""
    width, height = chance.choice([(40, 30), (64, 64), (17, 50)])
    frames = []
    for number in range(chance.randint(1, 5)):
        left, top, across, down = 0, 0, width, height
        if chance.random() < 0.5:
            left, top = chance.randrange(width), chance.randrange(height)
            # The first frame's size may enlarge the canvas; that of others may not.
            beyond = 10 if number else 0
            across, down = chance.randint(1, width - left + beyond), chance.randint(1, height - top + beyond)
        numbers = [chance.randrange(16) if chance.random() < 0.3 else at // 7 % 16 for at in range(across * down)]
        frames.append(
            Drawn(
                left,
                top,
                np.array(numbers, np.uint8).reshape(down, across),
                disposal := chance.choice([None, 0, KEEP, CLEAR, RESTORE, RESTORE_TOO]),
                chance.randrange(16) if disposal is not None and chance.random() < 0.3 else None,
                chance.random() < 0.3 and top + down <= height,
                chance.choice([b"", TABLE[::-1]]),
            )
        )
    return width, height, frames


def _frame(frame: Drawn) -> bytes:
    down, across = frame.pixels.shape
    control = b""
    if frame.disposal is not None:
        packed = frame.disposal << 2 | (frame.transparent is not None)
        control = b"\x21\xf9\x04" + bytes([packed, 0, 0, frame.transparent or 0, 0])
    rows = [*range(0, down, 8), *range(4, down, 8), *range(2, down, 4), *range(1, down, 2)]
    pixels = frame.pixels[rows] if frame.interlaced else frame.pixels
    flags = frame.interlaced << 6 | (0x80 | _BITS - 1 if frame.table else 0)
    place = struct.pack("<HHHHB", frame.left, frame.top, across, down, flags)
    return control + b"," + place + frame.table + codes(pixels.tobytes(), _BITS)


def codes(pixels: bytes, least: int) -> bytes:
    """A frame's data, its codes as long as at their beginning (GIF 89a, appendix F)."""
    width, clear = least + 1, 1 << least
    found: list[int] = []
    for number, pixel in enumerate(pixels):
        found += [clear] * (number % (clear - 2) == 0) + [pixel]
    held = sum(code << (width * at) for at, code in enumerate([*found, clear + 1]))
    data = held.to_bytes(-(-width * (len(found) + 1) // 8), "little")
    pieces = b"".join(bytes([len(piece)]) + piece for piece in (data[at : at + 255] for at in range(0, len(data), 255)))
    return bytes([least]) + pieces + b"\0"


def gif(width: int, height: int, frames: int, *, disposal: int = 0) -> bytes:
    """A GIF of frames of one pixel each, 23 bytes a frame. The first lies in the far corner and so spans the canvas."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    control = b"\x21\xf9\x04" + bytes([disposal << 2]) + bytes(3) + b"\0"
    body = b""
    for number in range(frames):
        place = ((number * 37) % width, 0) if number else (width - 1, height - 1)
        body += control + b"," + struct.pack("<HHHHB", *place, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + body + b";"


def webp(width: int, height: int, frames: int) -> bytes:
    """An animated WebP whose frames of one colour each cover the canvas."""
    plain = pyvips.Image.black(width, height, bands=3).copy(interpretation="srgb")
    coded = plain.webpsave_buffer(lossless=True, effort=0, keep="none")[12:]
    frame = bytes(6) + _three(width - 1) + _three(height - 1) + _three(100) + b"\0" + coded
    canvas = bytes([0x02, 0, 0, 0]) + _three(width - 1) + _three(height - 1)
    chunks = _chunk(b"VP8X", canvas) + _chunk(b"ANIM", bytes(6)) + _chunk(b"ANMF", frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
