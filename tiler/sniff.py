"""What a file's own bytes say about it, for the cases in which libvips only says that it failed. Pure.

libvips gives the same text for a PNG cut short and a PNG damaged in the middle, and none that helps for
WebP, HEIF or TIFF, so where the picture should end is read from the container itself.
"""

from __future__ import annotations

import os
import struct
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tiler import tiff

HEAD = 4096
"""Bytes looked at to tell text from an image: a page's <html> comes well before."""

JPEG_TAIL = 1 << 16
"""Bytes from the end searched for a JPEG's end marker: cameras append data of their own behind it."""


def kind_of(head: bytes) -> str:
    """Tell the kind of a file from its first bytes.

    Returns
    -------
    "jpeg", "png", "webp", "gif", "tiff" or "heif" (the readable formats), "svg", "text" (HTML and JSON
    included), "empty", or "other".
    """
    if not head:
        return "empty"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "tiff"
    if head[4:8] == b"ftyp":
        return "heif"
    if not _is_text(head):
        return "other"
    return "svg" if b"<svg" in head.lower() and b"<html" not in head.lower() else "text"


def ends_early(path: Path, page: int = 0) -> bool:
    """Tell whether a readable format's container names bytes beyond the end of the file.

    Parameters
    ----------
    page: of a TIFF, whose pages lie anywhere: the last one that is looked at.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD))
        reader = _READERS.get(kind)
        try:
            if kind == "tiff":
                return _tiff_ends_early(file, size, page)
            return reader is not None and reader(file, size)
        except struct.error:
            return True


def _is_text(head: bytes) -> bool:
    # A multi-byte character may be cut at the end; control characters are what no text has.
    body = head[:-4] if len(head) == HEAD else head
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = body.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return all(character.isprintable() or character in "\t\n\r\f\ufeff" for character in text)


def _jpeg_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - JPEG_TAIL))
    return b"\xff\xd9" not in file.read()


def _png_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 12))
    if b"IEND" in file.read():  # also where damage in the middle breaks the chain of chunks
        return False
    at = 8
    while at < size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if name == b"IEND":
            return bool(at > size)
    return True


def _webp_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    (length,) = struct.unpack("<I", file.read(4))
    return bool(8 + length > size)


def _gif_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) != b";"


def _tiff_ends_early(file: BinaryIO, size: int, page: int) -> bool:
    return any(directory.end() > size for directory in islice(tiff.directories(file), page + 1))


def _heif_ends_early(file: BinaryIO, size: int) -> bool:
    at = 0
    while at < size:
        file.seek(at)
        (length,) = struct.unpack(">I", file.read(4))
        if length == 1:
            file.seek(4, os.SEEK_CUR)
            (length,) = struct.unpack(">Q", file.read(8))
        if length == 0:  # to the end of the file
            return False
        if length < 8:
            return False
        at += length
    return at > size


_READERS = {
    "jpeg": _jpeg_ends_early,
    "png": _png_ends_early,
    "webp": _webp_ends_early,
    "gif": _gif_ends_early,
    "heif": _heif_ends_early,
}
