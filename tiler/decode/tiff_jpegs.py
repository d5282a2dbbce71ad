"""The sizes of a TIFF's tiles as their JPEGs say them: of one that is smaller, libvips leaves the rest as it finds it.

Source: ITU-T T.81, B.1 and B.2.2. Of strips libtiff remarks on it.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import BinaryIO

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff_layout import Compression

HEAD = 1024
"""Bytes of a tile's JPEG looked at first: its frame's header is among them, unless it carries a profile."""

MOST_HEAD = 1 << 18
"""Bytes looked at in the end."""

_START_OF_IMAGE = b"\xff\xd8"
_NO_FRAMES = {0xC4, 0xC8, 0xCC}
_FRAMES = set(range(0xC0, 0xD0)) - _NO_FRAMES


def require_full_tiles(directory: Directory, file: BinaryIO) -> None:
    """Raise StageError("image_corrupt") where a page's tiles are JPEGs, and one has not the size of a tile.

    Parameters
    ----------
    file: the directory's.

    Raises
    ------
    struct.error: where the file ends within the directory's values.
    """
    if Tag.TILE_WIDTH not in directory.entries or directory.value(Tag.COMPRESSION, 1) != Compression.JPEG:
        return
    expected = directory.value(Tag.TILE_WIDTH, 0), directory.value(Tag.TILE_HEIGHT, 0)
    offsets, lengths = directory.numbers(Tag.TILE_OFFSETS), directory.numbers(Tag.TILE_LENGTHS)
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
        found = _size(file.fileno(), offset, length)
        if found is not None and found != expected:
            width, height = found
            raise damaged(f"tile {number:,} is a JPEG of {width} x {height} pixels, not {expected[0]} x {expected[1]}")


def _size(file: int, offset: int, length: int) -> tuple[int, int] | None:
    """Give width and height; None where there is no such header, which the decoder will say."""
    for most in (HEAD, MOST_HEAD):
        with suppress(OSError, OverflowError, struct.error):
            return _size_in(os.pread(file, min(most, length), offset))
    return None


def _size_in(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(_START_OF_IMAGE):
        return None
    at = 2
    while True:
        while head[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        start, marker, size = struct.unpack_from(">BBH", head, at)
        if start != 0xFF:
            return None
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + size
