"""Undo the codings of rows that are not stored plainly. What makes no sense is damage, and raises an error."""

from __future__ import annotations

from array import array
from mmap import mmap
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.rasters import Coding, Raster
from tiler.decode.readers.raster.text import samples

_LINE_END, _END, _MOVE = 0, 1, 2
"""Second bytes of a BMP's escapes; greater ones count pixels that follow as they are."""


class Decoded(NamedTuple):
    """The rows of a page, `raster.size` bytes; of text also the first bytes behind them."""

    rows: bytearray | array[int]
    behind: bytes = b""


def decoded(raster: Raster, data: mmap | bytes) -> Decoded:
    """Return the rows of a page.

    Parameters
    ----------
    data: of the whole file.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """
    if raster.coding in {Coding.TEXT, Coding.BITS_AS_TEXT}:
        return Decoded(*samples(raster, data))
    try:
        return Decoded(tga_runs(raster, data) if raster.coding is Coding.TGA_RUNS else bmp_runs(raster, data))
    except IndexError as error:
        raise StageError("image_truncated", CUT_SHORT) from error


def bmp_runs(raster: Raster, data: mmap | bytes) -> bytearray:
    """Undo RLE8 or RLE4, a byte for each pixel. Pixels that the file skips have the palette's first colour.

    Raises
    ------
    StageError: image_corrupt.
    IndexError: if the file ends too early.
    """
    width, height, at = raster.width, raster.height, raster.offset
    is_nibbles = raster.coding is Coding.BMP_RUNS_4
    rows = bytearray(raster.size)
    x = y = 0
    while True:
        if at >= len(data) and y >= height - 1 and x == width:
            return rows  # some writers leave out the mark of the end
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            _require_inside(x + count <= width and y < height)
            run = bytes((value >> 4, value & 15)) * (count // 2 + 1) if is_nibbles else bytes((value,)) * count
            rows[y * width + x : y * width + x + count] = run[:count]
            x += count
        elif value == _LINE_END:
            x, y = 0, y + 1
            _require_inside(y <= height)
        elif value == _END:
            return rows
        elif value == _MOVE:
            x, y = x + data[at], y + data[at + 1]
            at += 2
            _require_inside(x <= width and y < height)
        else:
            _require_inside(x + value <= width and y < height)
            length = (value + 1) // 2 if is_nibbles else value
            piece = data[at : at + length]
            if len(piece) < length:
                raise IndexError
            if is_nibbles:
                piece = bytes(half for byte in piece for half in (byte >> 4, byte & 15))[:value]
            rows[y * width + x : y * width + x + value] = piece
            x, at = x + value, at + length + length % 2


def tga_runs(raster: Raster, data: mmap | bytes) -> bytearray:
    """Undo the runs of a TGA. Old programs let a run go on in the next row.

    Raises
    ------
    StageError: image_corrupt.
    IndexError: if the file ends too early.
    """
    each, at, wanted = raster.pixel_bits // 8, raster.offset, raster.size
    rows = bytearray()
    while len(rows) < wanted:
        head = data[at]
        count = (head & 127) + 1
        length = each if head > 127 else count * each
        piece = data[at + 1 : at + 1 + length]
        if len(piece) < length:
            raise IndexError
        rows += piece * count if head > 127 else piece
        at += 1 + length
    _require_inside(len(rows) == wanted)
    return rows


def _require_inside(is_inside: bool) -> None:
    if not is_inside:
        raise damaged("its runs of pixels reach beyond their row")
