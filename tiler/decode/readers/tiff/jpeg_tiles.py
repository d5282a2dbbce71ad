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
_FILL = 0xFF
"""Begins a marker, and may be there any number of times."""
_ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers that stand alone (T.81, table B.1): TEM and RST. libjpeg passes over them wherever they are."""
_ENDS = {0x00, 0xD8, 0xD9, 0xDA}
"""What libjpeg takes no frame behind: no marker at all, and SOI, EOI, SOS."""
_LENGTH_SIZE = 2
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
    """Give width and height; None where the file ends before the tile does, which the decoder will say.

    Raises
    ------
    StageError: image_corrupt, where there is none among the first MOST_HEAD bytes.
    """
    for most in (HEAD, MOST_HEAD):
        asked = min(most, length)
        try:
            head = os.pread(file, asked, offset)
        except (OSError, OverflowError):  # of a place that no file reaches
            return None
        if len(head) < asked:
            return None
        with suppress(IndexError, struct.error):
            if found := _size_in(head):
                return found
            break
    raise damaged("the size of a tile's JPEG cannot be told")


def _size_in(head: bytes) -> tuple[int, int] | None:
    """Give width and height by the first frame's header; None where no decoder would come to one.

    Raises
    ------
    IndexError, struct.error: where these bytes end before.
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
