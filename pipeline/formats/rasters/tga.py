"""Read the header of a TGA (Truevision).

Source: Truevision TGA File Format Specification, version 2.0.
"""

from __future__ import annotations

import struct

from pipeline.formats.rasters.layout import Coding, Raster
from pipeline.formats.tiff import File

_HEADER = struct.Struct("<BBBHHBHHHHBB")
_RUNS = 8
_PALETTE, _COLOUR, _GREY = 1, 2, 3
_ALPHA, _FROM_RIGHT, _FROM_TOP = 0x0F, 0x10, 0x20
"""Bits of the descriptor: the number of bits of transparency, and where the pixels begin."""

_555 = (0x7C00, 0x3E0, 0x1F)
_ALPHA_BIT = 0x8000

_FOOTER = struct.Struct("<II18s")
_MARK = b"TRUEVISION-XFILE.\0"
_ATTRIBUTES = 494
"""Offset of the type of transparency in the extension area, which the footer has the offset of."""

_NO_ALPHA = {1, 2}
_PREMULTIPLIED = 4


def parse(file: File) -> Raster:
    """Read the header; raises as pipeline.formats.rasters.parse.parse, and struct.error if the file ends within it."""
    file.seek(0)
    head = file.read(_HEADER.size)
    note, has_map, kind, first, count, entry, _, _, width, height, depth, flags = _HEADER.unpack(head)
    plain = kind & ~_RUNS
    table_bytes = count * ((entry + 7) // 8) if has_map else 0
    alpha_bits = flags & _ALPHA
    file.seek(_HEADER.size + note)
    table = file.read(table_bytes) if plain == _PALETTE else b""
    if plain == _PALETTE and len(table) < table_bytes:
        raise struct.error("the file ends within the palette")
    masks: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    palette, bands = b"", 3
    if plain == _PALETTE:
        palette, bands = _palette(table, first, entry, has_alpha=bool(alpha_bits))
    elif plain == _GREY:
        bands = max(1, depth // 8)
    elif depth in {15, 16}:
        masks = (*_555, _ALPHA_BIT) if alpha_bits and depth == 16 else _555
        bands = len(masks)
    else:
        order = (2, 1, 0, 3) if depth == 32 and alpha_bits else (2, 1, 0)
        bands = len(order)
    has_alpha = bands in {2, 4}
    return Raster(
        kind="tga",
        width=width,
        height=height,
        offset=_HEADER.size + note + table_bytes,
        row_bytes=(width + 7) // 8 if depth == 1 else width * ((depth + 7) // 8),
        pixel_bits=1 if depth == 1 else (depth + 7) // 8 * 8,
        bands=bands,
        coding=Coding.TGA_RUNS if kind & _RUNS else Coding.PLAIN,
        order=order,
        palette=palette,
        masks=masks,
        is_bottom_up=not flags & _FROM_TOP,
        is_right_to_left=bool(flags & _FROM_RIGHT),
        has_alpha=has_alpha,
    )


def alpha_meant(file: File, raster: Raster, length: int) -> Raster:
    """Return the layout with what the extension area says about transparency, if the file has one.

    Parameters
    ----------
    length: of the file in bytes.
    """
    if not raster.has_alpha or length < _FOOTER.size:
        return raster
    file.seek(length - _FOOTER.size)
    extension, _, mark = _FOOTER.unpack(file.read(_FOOTER.size))
    if mark != _MARK or not extension or extension + _ATTRIBUTES >= length:
        return raster
    file.seek(extension + _ATTRIBUTES)
    meant = file.read(1)[0]
    if meant in _NO_ALPHA:
        return raster._replace(has_alpha=False)
    return raster._replace(is_premultiplied=meant == _PREMULTIPLIED)


def _palette(table: bytes, first: int, entry: int, *, has_alpha: bool) -> tuple[bytes, int]:
    """Return the colours, and their number of bands; entries before the first are black."""
    each = (entry + 7) // 8
    bands = 4 if entry == 32 and has_alpha else 3
    colours = bytearray(bands * first)
    for at in range(0, len(table), each):
        piece = table[at : at + each]
        if each == 2:
            value = int.from_bytes(piece, "little")
            colours += bytes(((value >> shift & 31) * 255 + 15) // 31 for shift in (10, 5, 0))
        else:
            colours += bytes((piece[2], piece[1], piece[0], *piece[3:]))[:bands]
    return bytes(colours[: bands * 256]), bands
