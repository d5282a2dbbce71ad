"""Read samples that are written as decimal numbers, a piece of the file at a time.

Behind the last sample and white space, a file may have anything (pbm(5), "Plain PBM").
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from mmap import mmap

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.rasters import Coding, Raster

PIECE = 1 << 20
"""Bytes read at once. Most bytes of a word, too."""

_LINE_END = re.compile(rb"[\r\n]")
_SPACE = b" \t\r\n\f\v"
_BIT_VALUES = bytes.maketrans(b"01", b"\0\1")


def samples(raster: Raster, data: mmap | bytes) -> tuple[bytearray | array[int], bytes]:
    """Return the samples of a page, in one or two bytes each, and the first bytes behind them.

    Parameters
    ----------
    data: of the whole file.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """
    wanted = raster.width * raster.height * raster.bands
    found: bytearray | array[int] = array("H") if raster.sample == "ushort" else bytearray()
    for piece in _pieces(data, raster.offset, has_words=raster.coding is Coding.TEXT):
        left = wanted - len(found)
        if raster.coding is Coding.BITS_AS_TEXT:
            bits, behind = _bits(piece, left)
            found.extend(bits)
        else:
            numbers, behind = _numbers(piece, left, raster.most)
            found.extend(numbers)
        if len(found) == wanted:
            if raster.coding is Coding.TEXT and not behind and data[-1:].isdigit():
                _require_ended(piece, raster.most)
            return found, behind
    raise StageError("image_truncated", CUT_SHORT)


def _require_ended(piece: bytes, most: int) -> None:
    """Raise StageError("image_truncated") if the last number of a file may have lost digits.

    Netpbm reads no number that the file ends with. Here it is read if no further digit could follow.
    """
    last = piece.split()[-1]
    if last != b"0" and piece.endswith(last) and int(last) * 10 <= most:
        raise StageError("image_truncated", CUT_SHORT)


def _pieces(data: mmap | bytes, at: int, *, has_words: bool) -> Iterator[bytes]:
    """Yield pieces without comments.

    Parameters
    ----------
    at: offset of the first sample.
    has_words: whether pieces may end between words only. Bits need no space between them.
    """
    rest = b""
    while piece := data[at : at + PIECE]:
        at += len(piece)
        piece, is_in_comment = _without_comments(rest + piece)
        if is_in_comment:
            rest = b"#"
        elif not has_words:
            rest = b""
        else:
            end = max(piece.rfind(space) for space in (b" ", b"\n", b"\r", b"\t")) + 1
            piece, rest = piece[:end], piece[end:]
            if len(rest) > PIECE:
                raise damaged("a word among its samples does not end")
        yield piece
    if rest != b"#":
        yield rest


def _without_comments(piece: bytes) -> tuple[bytes, bool]:
    """Return a piece without its comments, and whether it ends in one. By `split`: the time is linear in the length."""
    first, *others = piece.split(b"#")
    kept = [first]
    is_in_comment = False
    for other in others:
        end = _LINE_END.search(other)
        is_in_comment = end is None
        if end is not None:
            kept.append(other[end.start() :])
    return b"".join(kept), is_in_comment


def _bits(piece: bytes, wanted: int) -> tuple[bytes, bytes]:
    digits = piece.translate(_BIT_VALUES, _SPACE)
    if digits and max(digits[:wanted]) > 1:
        raise damaged("there are other characters than 0 and 1 among its bits")
    return digits[:wanted], _behind_bits(piece, wanted) if len(digits) >= wanted else b""


def _behind_bits(piece: bytes, wanted: int) -> bytes:
    """Return what a piece has behind its first `wanted` characters other than white space. White space comes first."""
    at = 0
    while wanted:
        part = piece[at : at + wanted]
        at += len(part)
        wanted -= len(part.translate(None, _SPACE))
    if piece[at : at + 1].strip(_SPACE):
        raise damaged("there are other characters than 0 and 1 among its bits")
    return piece[at:].lstrip(_SPACE)


def _numbers(piece: bytes, wanted: int, most: int) -> tuple[list[int], bytes]:
    words = piece.split(None, wanted)
    behind = words.pop() if len(words) > wanted else b""
    try:
        numbers = list(map(int, words))
    except ValueError as error:
        raise damaged("there is a word among its samples") from error
    if numbers and not 0 <= min(numbers) <= max(numbers) <= most:
        raise damaged(f"there are samples above {most:,}, the greatest by its header")
    return numbers, behind
