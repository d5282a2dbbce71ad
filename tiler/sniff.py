"""What a file's own bytes say about it, for the cases in which libvips only says that it failed. Pure.

libvips gives the same text for a PNG cut short and a PNG damaged in the middle, and none that helps for
WebP, HEIF or TIFF, so where the picture should end is read from the container itself.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

HEAD = 4096
"""Bytes looked at to tell text from an image: a page's <html> comes well before."""

JPEG_TAIL = 1 << 16
"""Bytes from the end searched for a JPEG's end marker: cameras append data of their own behind it."""


_TIFF_PLACES = {273, 279, 324, 325}
"""Tags: offsets and byte counts of strips, and of tiles."""

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by its type (TIFF 6.0 section 2; 16 to 18 of BigTIFF)."""

_TIFF_WORDS = {3: "H", 4: "I", 16: "Q"}


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


def ends_early(path: Path) -> bool:
    """Tell whether a readable format's container names bytes beyond the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _READERS.get(kind_of(file.read(HEAD)))
        try:
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


def _tiff_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = struct.unpack(f"{order}H", file.read(2))
    big = version == 43  # BigTIFF: 8-byte offsets, 20-byte entries
    if big:
        file.seek(8)
    (directory,) = struct.unpack(f"{order}{'Q' if big else 'I'}", file.read(8 if big else 4))
    if directory >= size:
        return True
    file.seek(directory)
    (entries,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    width = 20 if big else 12
    return bool(file.tell() + entries * width > size) or _tiff_data_ends(file, order, big, entries) > size


def _tiff_data_ends(file: BinaryIO, order: str, big: bool, entries: int) -> int:
    """Give the end of the last byte that the directory at the file's position, or a strip or tile, takes."""
    fields: dict[int, list[int]] = {}
    ends = [0]
    word = "Q" if big else "I"
    directory = [file.read(20 if big else 12) for _ in range(min(entries, HEAD))]
    for entry in directory:
        tag, kind, count = struct.unpack_from(f"{order}HH{word}", entry)
        value = entry[12 if big else 8 :]
        length = _TIFF_SIZES.get(kind, 0) * count
        if length > len(value):
            (offset,) = struct.unpack(f"{order}{word}", value)
            ends.append(offset + length)
            if offset + length > os.fstat(file.fileno()).st_size:
                break
            file.seek(offset)
            value = file.read(length) if tag in _TIFF_PLACES else b""
        if tag in _TIFF_PLACES and kind in _TIFF_WORDS:
            fields[tag] = list(struct.unpack_from(f"{order}{count}{_TIFF_WORDS[kind]}", value))
    offsets = fields.get(273, fields.get(324, []))
    counts = fields.get(279, fields.get(325, []))
    return max(ends + [offset + count for offset, count in zip(offsets, counts, strict=False)])


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
    "tiff": _tiff_ends_early,
    "heif": _heif_ends_early,
}
