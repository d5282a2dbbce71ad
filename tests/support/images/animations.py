"""Animations byte by byte: of a few bytes a frame, on canvases that no encoder would be asked for."""

from __future__ import annotations

import struct

import pyvips


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
