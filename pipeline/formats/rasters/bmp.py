"""Read the header of a BMP (device-independent bitmap) of Windows or OS/2.

Source: Microsoft, Windows GDI, "Bitmap storage" with BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV4HEADER and
BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.rasters.layout import Coding, Raster
from pipeline.formats.tiff import File

_FILE_HEAD = 14
_CORE, _INFO, _WITH_MASKS, _WITH_ALPHA, _V5 = 12, 40, 52, 56, 124
_OS2 = frozenset({16, 24, 32, 48, 64})
"""Lengths of OS/2's second header, which may be cut short."""

_EMBEDDED_PROFILE = b"DEBM"
"""The colour space "MBED", in the order of the file's bytes."""


class _Compression(IntEnum):
    NONE = 0
    RLE8 = 1
    RLE4 = 2
    MASKS = 3
    JPEG = 4
    PNG = 5
    MASKS_WITH_ALPHA = 6


_DEPTHS = {
    _Compression.NONE: (1, 2, 4, 8, 16, 24, 32),
    _Compression.RLE8: (8,),
    _Compression.RLE4: (4,),
    _Compression.MASKS: (16, 32),
    _Compression.MASKS_WITH_ALPHA: (16, 32),
}
"""Bits of a pixel for each compression."""

_CODINGS = {_Compression.RLE8: Coding.BMP_RUNS_8, _Compression.RLE4: Coding.BMP_RUNS_4}
_BYTES = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
_555 = (0x7C00, 0x3E0, 0x1F)


def parse(file: File) -> Raster:
    """Read the header; raises as pipeline.formats.rasters.parse.parse, and struct.error if the file ends within it."""
    file.seek(10)
    offset, size = struct.unpack("<II", file.read(8))
    if size == _CORE:
        width, height, _, bits = struct.unpack("<HHHH", file.read(8))
        compression, used = 0, 0
    else:
        fields = file.read(min(size, _V5) - 4)
        width, height, _, bits, compression, *_, used, _ = struct.unpack("<iiHHIIiiII", fields[:36].ljust(36, b"\0"))
        if size in _OS2 and compression > _Compression.RLE4:
            raise _unsupported("this compression of OS/2")
    if compression not in _DEPTHS or bits not in _DEPTHS[_Compression(compression)]:
        if compression in {_Compression.JPEG, _Compression.PNG}:
            raise _unsupported(f"a {_Compression(compression).name} inside")
        raise _unsupported(f"{bits} bits a pixel in compression {compression}")
    if height < 0 and compression in _CODINGS:
        raise damaged("its rows are compressed and stored from the top, which no BMP may be")
    masks, after = _masks(file, size, bits, _Compression(compression))
    palette = _palette(file, after, offset, bits, used, 3 if size == _CORE else 4)
    order: tuple[int, ...] = ()
    if masks and bits == 32 and set(masks) <= set(_BYTES):
        order, masks = tuple(_BYTES.index(mask) for mask in masks), ()
    elif bits == 24:
        order = (2, 1, 0)
    is_coded = compression in _CODINGS
    return Raster(
        kind="bmp",
        width=width,
        height=abs(height),
        offset=offset or after + len(palette) // 3 * (3 if size == _CORE else 4),
        row_bytes=width if is_coded else (width * bits + 31) // 32 * 4,
        pixel_bits=8 if is_coded else bits,
        bands=len(order) or len(masks) or 3,
        coding=_CODINGS.get(_Compression(compression), Coding.PLAIN),
        order=order,
        palette=palette,
        masks=masks,
        is_bottom_up=height > 0,
        has_alpha=len(order or masks) == 4,
        profile=_profile(file, size),
    )


def _masks(file: File, size: int, bits: int, compression: _Compression) -> tuple[tuple[int, ...], int]:
    """Return the masks of red, green, blue and maybe alpha, and the offset of what follows the header."""
    after = _FILE_HEAD + size
    if bits not in {16, 32}:
        return (), after
    if compression is _Compression.NONE:
        # The fourth byte, or the sixteenth bit, has no meaning then, also where it is not zero.
        return (_555 if bits == 16 else (_BYTES[2], _BYTES[1], _BYTES[0])), after
    count = 4 if size >= _WITH_ALPHA or compression is _Compression.MASKS_WITH_ALPHA else 3
    if size < _WITH_MASKS:
        after += 4 * count
    file.seek(_FILE_HEAD + _INFO)
    masks = struct.unpack(f"<{count}I", file.read(4 * count))
    if not all(_is_run(mask, bits) for mask in masks[:3]) or any(
        first & other for at, first in enumerate(masks) for other in masks[at + 1 :]
    ):
        raise damaged("the bits of its colours overlap, or are scattered")
    return (masks if count == 4 and _is_run(masks[3], bits) else masks[:3]), after


def _is_run(mask: int, bits: int) -> bool:
    """Return whether the bits of a mask are neighbours within a pixel."""
    lowest = mask & -mask
    return 0 < mask < 1 << bits and (mask // lowest) & (mask // lowest + 1) == 0


def _palette(file: File, at: int, offset: int, bits: int, used: int, each: int) -> bytes:
    """Return the colours as RGB; entries that would lie among the pixels do not exist."""
    if bits > 8:
        return b""
    count = min(used or 1 << bits, 1 << bits)
    if offset:
        count = min(count, max(0, offset - at) // each)
    file.seek(at)
    data = file.read(count * each)
    if len(data) < count * each:
        raise struct.error("the file ends within the palette")
    if not count:
        raise damaged("it has no palette")
    return b"".join(data[first : first + 3][::-1] for first in range(0, count * each, each))


def _profile(file: File, size: int) -> tuple[int, int] | None:
    if size < _V5:
        return None
    file.seek(_FILE_HEAD + 56)
    space = file.read(4)
    file.seek(_FILE_HEAD + 112)
    at, length = struct.unpack("<II", file.read(8))
    return (_FILE_HEAD + at, length) if space == _EMBEDDED_PROFILE and length else None


def _unsupported(what: str) -> StageError:
    return StageError(
        "unsupported_format", f"The BMP has {what}, which is not supported. Save it as a plain BMP, JPEG, PNG or TIFF."
    )
