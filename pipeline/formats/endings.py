"""Find out whether a file ends before its image does, from the lengths in its container. Pure functions.

libvips has the same message for a truncated PNG and one damaged in the middle, and no useful message for WebP, HEIF and
TIFF. So the end of the image is read from the container itself.
"""

from __future__ import annotations

import struct

from pipeline.formats import tiff
from pipeline.formats.tiff import File

JPEG_TAIL = 1 << 16
"""Bytes at the end that are searched for a JPEG's end marker: cameras append their own data behind it."""

_HEIF_BOXES = {b"ftyp", b"meta", b"mdat", b"idat", b"moov", b"free", b"skip"}


def ends_early(kind: str, file: File, size: int, page: int = 0) -> bool:
    """Return whether the container of a supported format refers to bytes beyond the end of the file.

    Parameters
    ----------
    kind: of the file: see pipeline.formats.kinds.
    size: of the file in bytes.
    page: the page of a TIFF to check, since its pages may lie anywhere.
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
    if b"IEND" in file.read(12):  # checked first, since damage in the middle may break the chain of chunks
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
    """Check known boxes only: other data may follow the box that describes the pictures."""
    at, seen = 0, set()
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            file.seek(at + 8)
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:  # 0 means: to the end of the file
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
