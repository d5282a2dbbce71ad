"""Check that the JPEGs in a TIFF's tiles have the size of a tile.

If a JPEG is smaller, libvips does not set the rest of the tile's pixels. Strips need no check: libtiff warns of them.
Source: ITU-T T.81, B.1 and B.2.2.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import BinaryIO

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.layout import Compression

HEAD = 1024
"""Bytes of a tile's JPEG read at first. They contain the frame's header, unless a profile precedes it."""

MOST_HEAD = 1 << 18
"""Most bytes read to find the frame's header."""

_START_OF_IMAGE = b"\xff\xd8"
_FILL = 0xFF
"""The byte that begins a marker; it may be repeated any number of times."""
_ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a body (T.81, table B.1): TEM and RST. libjpeg skips them wherever they are."""
_ENDS = {0x00, 0xD8, 0xD9, 0xDA}
"""Codes behind which libjpeg accepts no frame: 0, which is no marker, and SOI, EOI, SOS."""
_LENGTH_SIZE = 2
_NO_FRAMES = {0xC4, 0xC8, 0xCC}
_FRAMES = set(range(0xC0, 0xD0)) - _NO_FRAMES


def require_full_tiles(directory: Directory, file: BinaryIO) -> None:
    """Check the sizes of a page's tiles if they are JPEGs.

    Parameters
    ----------
    file: the directory's own.

    Raises
    ------
    StageError: image_corrupt, if the JPEG of a tile has another size than the tile.
    struct.error: if the file ends within the directory's values.
    """
    if Tag.TILE_WIDTH not in directory.entries or directory.value(Tag.COMPRESSION, 1) != Compression.JPEG:
        return
    expected = directory.value(Tag.TILE_WIDTH, 0), directory.value(Tag.TILE_HEIGHT, 0)
    offsets, lengths = directory.numbers(Tag.TILE_OFFSETS), directory.numbers(Tag.TILE_LENGTHS)
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
        if (offset, length) == (0, 0):  # it is left out on purpose
            continue
        found = _size(file.fileno(), offset, length)
        if found is not None and found != expected:
            width, height = found
            raise damaged(f"tile {number:,} is a JPEG of {width} x {height} pixels, not {expected[0]} x {expected[1]}")


def _size(file: int, offset: int, length: int) -> tuple[int, int] | None:
    """Return the width and height of a tile's JPEG.

    None if the file ends before the tile does: the decoder will report that.

    Raises
    ------
    StageError: image_corrupt, if the first MOST_HEAD bytes do not contain the size.
    """
    for most in (HEAD, MOST_HEAD):
        asked = min(most, length)
        try:
            head = os.pread(file, asked, offset)
        except (OSError, OverflowError):  # an offset beyond any file
            return None
        if len(head) < asked:
            return None
        with suppress(IndexError, struct.error):
            if found := _size_in(head):
                return found
            break
    raise damaged("the JPEG of a tile does not say its size")


def _size_in(head: bytes) -> tuple[int, int] | None:
    """Return width and height by the first frame's header; None if no decoder would reach a frame.

    Raises
    ------
    IndexError, struct.error: if the bytes end before that header.
    """
    if not head.startswith(_START_OF_IMAGE):
        return None
    at = 2
    while head[at] == _FILL:
        while head[at] == _FILL:
            at += 1
        marker = head[at]
        at += 1
        if marker in _ALONE:
            continue
        (size,) = struct.unpack_from(">H", head, at)
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 3)
            return width, height
        if size < _LENGTH_SIZE or marker in _ENDS:
            return None
        at += size
    return None
