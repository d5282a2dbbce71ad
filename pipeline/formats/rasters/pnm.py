"""Read the header of the formats of Netpbm: PBM, PGM, PPM, PAM, and PFM with floats.

Source: Netpbm's manual pages pbm(5), pgm(5), ppm(5), pam(5) and pfm(5).
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from typing import NoReturn

from pipeline.formats.decoder_errors import damaged
from pipeline.formats.rasters.layout import Coding, Raster
from pipeline.formats.tiff import File

MOST_HEADER = 1 << 16
"""Most bytes of a header with its comments."""

MOST_BANDS = 1 << 10
_WIDE = 255
"""Greatest value of a sample that is stored in one byte."""

_BLACK_IS_ONE = b"\xff\0"

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*([^\s#]+)\s")
"""A word of the header, behind white space and comments, and the one character that ends it."""

_LINE = re.compile(rb"[^\n]*\n")


def parse(file: File) -> Raster:
    """Read the header; raises as pipeline.formats.rasters.parse.parse, and struct.error if the file ends within it."""
    file.seek(0)
    head = file.read(MOST_HEADER)
    if head[:2] == b"P7":
        return _pam(head)
    if head[:2] in {b"Pf", b"PF"}:
        return _pfm(head)
    words = _Words(head)
    width, height = words.number(), words.number()
    number = int(head[1:2])
    most = 1 if number in {1, 4} else words.number()
    if not 0 < most < 1 << 16:
        raise damaged(f"the greatest value of its samples is {most:,}")
    bands = 3 if number in {3, 6} else 1
    if number in {1, 4}:
        return Raster(
            kind="pnm",
            width=width,
            height=height,
            offset=words.at,
            row_bytes=width if number == 1 else (width + 7) // 8,
            pixel_bits=8 if number == 1 else 1,
            bands=1,
            coding=Coding.BITS_AS_TEXT if number == 1 else Coding.PLAIN,
            palette=_BLACK_IS_ONE,
        )
    return _samples(width, height, words.at, bands, most, is_text=number < 4)


def _samples(
    width: int, height: int, at: int, bands: int, most: int, *, is_text: bool = False, has_alpha: bool = False
) -> Raster:
    wide = most > _WIDE
    return Raster(
        kind="pnm",
        width=width,
        height=height,
        offset=at,
        row_bytes=width * bands * (1 + wide),
        pixel_bits=8 * bands * (1 + wide),
        bands=bands,
        sample="ushort" if wide else "uchar",
        coding=Coding.TEXT if is_text else Coding.PLAIN,
        most=most,
        is_big_endian=wide and not is_text,
        has_alpha=has_alpha,
    )


def _pam(head: bytes) -> Raster:
    found: dict[bytes, bytes] = {}
    at = 0
    for line in _LINE.finditer(head):
        name, _, value = line[0].strip().partition(b" ")
        if name == b"ENDHDR":
            at = line.end()
            break
        if not name.startswith(b"#"):
            found[name] = b" ".join((found.get(name, b""), value.strip())).strip()
    else:
        _ended(head)
    try:
        width, height, bands, most = (int(found[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError) as error:
        raise damaged("a size or the greatest value is not in its header") from error
    if not 0 < bands <= MOST_BANDS or not 0 < most < 1 << 16:
        raise damaged(f"its header states {bands:,} bands up to {most:,}")
    return _samples(width, height, at, bands, most, has_alpha=found.get(b"TUPLTYPE", b"").endswith(b"_ALPHA"))


def _pfm(head: bytes) -> Raster:
    words = _Words(head)
    width, height = words.number(), words.number()
    scale = 0.0
    with suppress(ValueError):
        scale = float(words.word())
    if not scale:
        raise damaged("its header does not state the order of bytes")
    bands = 3 if head[1:2] == b"F" else 1
    return Raster(
        kind="pnm",
        width=width,
        height=height,
        offset=words.at,
        row_bytes=4 * width * bands,
        pixel_bits=32 * bands,
        bands=bands,
        sample="float",
        is_big_endian=scale > 0,
        is_bottom_up=True,
    )


class _Words:
    """The words of a header, one after the other; `at` is the offset behind the last one."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.at = 2

    def word(self) -> bytes:
        found = _TOKEN.match(self._head, self.at)
        if found is None:
            _ended(self._head)
        self.at = found.end()
        return found[1]

    def number(self) -> int:
        word = self.word()
        if not word.isdigit() or len(word) > 10:
            raise damaged("a number in its header is none")
        return int(word)


def _ended(head: bytes) -> NoReturn:
    if len(head) == MOST_HEADER:
        raise damaged(f"its header does not end within {MOST_HEADER:,} bytes")
    raise struct.error("the file ends within the header")
