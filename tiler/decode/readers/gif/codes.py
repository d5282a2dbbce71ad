"""Check that the frames of a GIF have all their pixels.

If the codes of a frame end early, libvips reports nothing and leaves the missing pixels as they were. This check does
not decode the frame. It only adds up how many pixels each code stands for: a seventh of a second for a megabyte.
Source: the GIF 89a specification, appendix F, "Variable-Length-Code LZW Compression".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.frames import HAS_TABLE, skip_table

_FRAME, _EXTENSION = b"\x2c", b"\x21"

_INTERLACED = 0x40

MARGIN = 96
"""Rows before a fault that are distrusted, unless the file is cut there."""

MOST_CODES = 4096
"""Size of the code table. When it is full, no codes are added."""

LONGEST_CODE = 12
"""In bits."""


def has_full_frames(file: BinaryIO, page: int) -> bool:
    """Check that every frame up to the given page has as many pixels as its size says.

    Parameters
    ----------
    file: an open GIF.
    page: from 0.

    Returns
    -------
    False if the file ends before the page does. The decoder can then report how it ends.

    Raises
    ------
    StageError: image_corrupt, if a frame has too few pixels or invalid codes; unsupported_format, if a frame has no
        colour table.
    """
    frame = 0
    with suppress(struct.error):
        file.seek(10)
        (screen,) = struct.unpack("<B2x", file.read(3))
        skip_table(file, screen)
        while frame <= page and (block := file.read(1)) in {_FRAME, _EXTENSION}:
            if block == _EXTENSION:
                file.seek(1, 1)
                for _ in _pieces(file):
                    pass
                continue
            width, height, flags = struct.unpack("<4xHHB", file.read(9))
            if not (screen | flags) & HAS_TABLE:
                raise StageError(
                    "unsupported_format",
                    f"Frame {frame} of the GIF has no colour table, so its colours are unknown. Save the GIF again "
                    "with one.",
                )
            skip_table(file, flags)
            (least,) = struct.unpack("<B", file.read(1))
            if not 1 <= least < LONGEST_CODE:
                raise damaged(f"frame {frame} of the GIF has codes of {least} bits")
            pieces = _pieces(file)
            missing = width * height - _pixels(pieces, least, width * height)
            if missing > 0:
                raise damaged(f"frame {frame} of the GIF ends {missing:,} pixels before its end")
            for _ in pieces:
                pass
            frame += 1
    return frame > page


def _pixels(pieces: Iterator[bytes], least: int, most: int) -> int:
    """Count the pixels that a frame's data stands for.

    Parameters
    ----------
    least: bits of a pixel, by the frame's header.
    most: the count may stop once it reaches this number.
    """
    clear = 1 << least
    lengths = [1] * clear + [0, 0]
    first = len(lengths)
    width, before, count = least + 1, 0, 0
    held = bits = 0
    for piece in pieces:
        held |= int.from_bytes(piece, "little") << bits
        bits += 8 * len(piece)
        while bits >= width and count < most:
            code = held & ((1 << width) - 1)
            held >>= width
            bits -= width
            if code == clear:
                del lengths[first:]
                width, before = least + 1, 0
                continue
            known = len(lengths)
            if code == clear + 1 or code > known or (code == known and not before):
                return count  # the end, or an invalid code
            length = lengths[code] if code < known else before + 1
            if before and known < MOST_CODES:
                lengths.append(before + 1)
                if known + 1 == 1 << width and width < LONGEST_CODE:
                    width += 1
            before = length
            count += length
        if count >= most:
            break
    return count


def _whole_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """As `_pieces`, without a block that the end of the file cuts: libvips does not decode it either."""
    while (length := file.read(1)) not in {b"", b"\0"}:
        if file.tell() + length[0] > size:
            file.seek(-1, 1)
            return
        yield file.read(length[0])


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data blocks that follow, up to the empty one that ends them."""
    while (length := file.read(1)) not in {b"", b"\0"}:
        yield file.read(length[0])


class LostRows(NamedTuple):
    """Where a damaged frame loses its pixels.

    Parameters
    ----------
    left, top, width, height: of the rectangle that is lost, on the canvas.
    canvas: width and height of the canvas.
    end: of the bytes in the file that were decoded without a fault.
    """

    left: int
    top: int
    width: int
    height: int
    canvas: tuple[int, int]
    end: int


def lost_rows(file: BinaryIO, page: int) -> LostRows | None:
    """Find what is lost of a page whose own frame is damaged; None if more is damaged, or nothing of it is left.

    Raises
    ------
    struct.error: if the file ends before the frame's data.
    """
    if page and not has_full_frames(file, page - 1):
        return None
    file.seek(6)
    width, height, screen = struct.unpack("<HHB2x", file.read(7))
    skip_table(file, screen)
    frame = 0
    while (block := file.read(1)) in {_FRAME, _EXTENSION}:
        if block == _EXTENSION:
            file.seek(1, 1)
            for _ in _pieces(file):
                pass
            continue
        left, top, across, down, flags = struct.unpack("<HHHHB", file.read(9))
        skip_table(file, flags)
        (least,) = struct.unpack("<B", file.read(1))
        if frame < page:
            for _ in _pieces(file):
                pass
            frame += 1
            continue
        if not 1 <= least < LONGEST_CODE or flags & _INTERLACED or not across:
            return None
        start = file.tell()
        size = file.seek(0, 2)
        file.seek(start)
        done = _pixels(_whole_pieces(file, size), least, across * down) // across
        end = min(size, file.tell())
        file.seek(start)
        for _ in _pieces(file):
            pass
        is_cut = not file.read(1)
        # A fault in the middle is noticed late: docs/decisions/0020.
        rows = done if is_cut else max(0, done - MARGIN)
        return LostRows(left, top + rows, across, down - rows, (width, height), end) if rows else None
    return None
