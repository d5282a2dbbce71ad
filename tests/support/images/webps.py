"""WebPs whose header and chunks disagree on transparency, and sound ones."""

from __future__ import annotations

import io

from PIL import Image

from tests.support.images import pictures

EDGE = 96


def encoded(bands: int, *, lossless: bool = False) -> bytes:
    saved = io.BytesIO()
    Image.fromarray(pictures.scene(EDGE, EDGE, bands=bands)).save(saved, "WEBP", lossless=lossless, quality=80)
    return saved.getvalue()


def unsound() -> dict[str, bytes]:
    """By name: each with one changed bit."""
    whole = encoded(4)
    name, flags, length = whole.index(b"ALPH"), 20, 16
    changes = {"name-0": (name, 1), "name-3": (name + 3, 1), "flag": (flags, 0x10), "length": (length, 32)}
    return {what: whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for what, (at, bit) in changes.items()} | {
        "no-alpha": _extended(encoded(3), 0x10),
        "lossless-flag": _extended(encoded(4, lossless=True), 0),
    }


def sound() -> dict[str, bytes]:
    """By name: with and without transparency, lossless or not, with an extended header or without."""
    lossless = encoded(4, lossless=True)
    return {
        "alpha": encoded(4),
        "plain": encoded(3),
        "lossless": lossless,
        "extended": _extended(encoded(3), 0),
        "extended-lossless": _extended(lossless, 0x10),
        "opaque": _extended(encoded(3, lossless=True), 0),
    }


def _extended(file: bytes, flags: int) -> bytes:
    edge = (EDGE - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes([flags, 0, 0, 0]) + edge + edge + file[12:]
    return b"RIFF" + len(body).to_bytes(4, "little") + body
