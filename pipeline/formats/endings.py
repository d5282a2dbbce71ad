"""Whether a file ends before its picture does, by what its container says of itself. Pure.

libvips gives the same text for a PNG cut short and a PNG damaged in the middle, and none that helps for
WebP, HEIF or TIFF, so where the picture should end is read from the container itself.
"""

from __future__ import annotations

import struct

from pipeline.formats import tiff
from pipeline.formats.tiff import File

JPEG_TAIL = 1 << 16
"""Bytes from the end searched for a JPEG's end marker: cameras append data of their own behind it."""

_HEIF_BOXES = {b"ftyp", b"meta", b"mdat", b"idat", b"moov", b"free", b"skip"}


def ends_early(kind: str, file: File, size: int, page: int = 0) -> bool:
    """Tell whether a readable format's container names bytes beyond the end of the file.

    Parameters
    ----------
    kind: of the file: see pipeline.formats.kinds.
    size: of the file in bytes.
    page: of a TIFF, whose pages lie anywhere: the one that is looked at.
    """
    reader = _READERS.get(kind)
    try:
        if kind == "tiff":
            return _tiff_ends_early(file, size, page)
        return reader is not None and reader(file, size)
    except struct.error:
        return True


def _jpeg_ends_early(file: File, size: int) -> bool:
    file.seek(max(0, size - JPEG_TAIL))
    return b"\xff\xd9" not in file.read(JPEG_TAIL)


def _png_ends_early(file: File, size: int) -> bool:
    file.seek(max(0, size - 12))
    if b"IEND" in file.read(12):  # also where damage in the middle breaks the chain of chunks
        return False
    at = 8
    while at < size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if not name.isalpha():
            return False
        at += 12 + length
        if name == b"IEND":
            return bool(at > size)
    return True


def _webp_ends_early(file: File, size: int) -> bool:
    file.seek(4)
    (length,) = struct.unpack("<I", file.read(4))
    return bool(8 + length > size)


def _gif_ends_early(file: File, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) != b";"


def _tiff_ends_early(file: File, size: int, page: int) -> bool:
    directory = tiff.find(file, page)
    return directory is not None and directory.end(size) > size


def _heif_ends_early(file: File, size: int) -> bool:
    """Tell whether a box of the file's own does; what else follows the description of its pictures may be anything."""
    at, seen = 0, set()
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            file.seek(at + 8)
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:  # 0 is to the end of the file
            return False
        if at + length > size:
            return kind in _HEIF_BOXES or b"meta" not in seen
        seen.add(kind)
        at += length
    return at < size and b"meta" not in seen


_READERS = {
    "jpeg": _jpeg_ends_early,
    "png": _png_ends_early,
    "webp": _webp_ends_early,
    "gif": _gif_ends_early,
    "heif": _heif_ends_early,
}
