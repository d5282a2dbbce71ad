"""Read the boxes of a HEIF and the fields within them.

All functions raise struct.error if a box ends before its fields do.
Sources: ISO/IEC 14496-12 4.2 (boxes), ISO/IEC 23008-12 6.6.2 (derived items), 9.3 (ipma).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

_LARGEST_META = 64 << 20
"""Most bytes of the box that describes all items: a grid of a gigapixel needs a few hundred kilobytes."""

_MOST_BOXES = 20_000
"""Most boxes at the top level of a file: libheif's own limit."""


def grid_of(data: bytes) -> tuple[int, int, int, int]:
    """Return a grid's rows, columns, width and height (ISO/IEC 23008-12, 6.6.2.3)."""
    stream = io.BytesIO(data)
    wide = 4 if take(stream, 2) & 1 else 2
    return take(stream, 1) + 1, take(stream, 1) + 1, take(stream, wide), take(stream, wide)


def overlay_of(data: bytes) -> int:
    """Return the pixels of an overlay's canvas (ISO/IEC 23008-12, 6.6.2.2)."""
    stream = io.BytesIO(data)
    wide = 4 if take(stream, 2) & 1 else 2
    take(stream, 8)
    return take(stream, wide) * take(stream, wide)


def once(again: bool) -> None:
    """Raise struct.error if `again`: for things that a file may contain once."""
    if again:
        raise struct.error("a box or property occurs twice")


def meta_of(file: BinaryIO, size: int) -> bytes:
    """Return the content of the meta box."""
    at, found = 0, b""
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 16:
            break
        length, kind = struct.unpack_from(">I4s", head)
        start = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, 8)
            start = 16
        if kind == b"meta":
            once(bool(found))
            length = length or size - at
            if not start + 4 <= length <= min(_LARGEST_META, size):
                raise struct.error("the meta box has an invalid size")
            file.seek(at + start + 4)
            found = file.read(length - start - 4)
        if length < start or at + length > size:
            break
        at += length
    if not found:
        raise struct.error("there is no meta box")
    return found


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each box."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if length == 0:
            length = len(data) - at
        if not head <= length <= len(data) - at:
            raise struct.error("a box is longer than the box around it")
        yield kind, data[at + head : at + length]
        at += length


def associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    """Yield each item of an ipma box with the indices of its properties, from 1."""
    version, flags, stream = body[0], body[3], io.BytesIO(body[4:])
    wide, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
    for _ in range(take(stream, 4)):
        number = take(stream, 4 if version else 2)
        yield number, [take(stream, wide) & mask for _ in range(take(stream, 1))]


def number_at(data: bytes, at: int, size: int) -> int:
    """Return the number of `size` bytes at a position."""
    return take(io.BytesIO(data[at:]), size)


def take(stream: io.BytesIO, size: int) -> int:
    """Return the next number, of `size` bytes."""
    data = stream.read(size)
    if len(data) < size:
        raise struct.error("a box ends within a number")
    return int.from_bytes(data, "big")
