"""Find the files within an uncompressed zip by its central directory. Supports zip64.

Python's zipfile keeps about 700 bytes of objects for each file, which is too much for millions of tiles.
Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_LOCAL = struct.Struct("<4s22xHH")
_CENTRAL = struct.Struct("<4s6xH4xIII3H8xI")
_END = struct.Struct("<4s6xHIIH")
_END64_LOCATOR = struct.Struct("<4s4xQ4x")
_END64 = struct.Struct("<4s28xQQQ")

_IN_EXTRA = 0xFFFFFFFF
_MAX_COMMENT = 0xFFFF

_DESCRIPTOR = 24
"""Most bytes of the data descriptor that follows a file's content."""

_TILE = re.compile(r"[^/]+/[^/]+/([0-9]+)/([0-9]+)_([0-9]+)\.[a-z]+")


class Stored(NamedTuple):
    """One file within the zip.

    Its header lies from `header` to `offset`, its content from `offset` to `offset + length`. `crc32` is the content's.
    """

    name: str
    offset: int
    length: int
    crc32: int
    header: int

    @property
    def tile(self) -> tuple[int, int, int] | None:
        """Level, column and row, from a name such as picture/picture_files/12/3_4.jpg; None if it is no tile."""
        found = _TILE.fullmatch(self.name)
        if found is None:
            return None
        level, x, y = map(int, found.groups())
        return level, x, y


def files(path: Path) -> Iterator[Stored]:
    """Yield every file of an uncompressed zip, in the directory's order.

    The zip is read, not mapped: mapped pages would count as memory of this process.

    Raises
    ------
    ValueError: if the file is no zip, compressed or cut short.
    """
    with path.open("rb") as file, path.open("rb") as directory:
        try:
            yield from _files(file, directory)
        except struct.error as error:
            raise ValueError("the zip's directory is cut short") from error


def crc32_around(file: BinaryIO, stored: Stored, checksum: int) -> int:
    """Continue the checksum of a zip's frame with the bytes before and behind one file's content.

    The frame is everything in a zip except the files' contents, which have their own checksums. Call this for each file
    in the directory's order, then `crc32_of_directory`.
    """
    checksum = zlib.crc32(os.pread(file.fileno(), stored.offset - stored.header, stored.header), checksum)
    return zlib.crc32(os.pread(file.fileno(), _DESCRIPTOR, stored.offset + stored.length), checksum)


def crc32_of_directory(file: BinaryIO, checksum: int) -> int:
    """Finish the checksum of a zip's frame with the directory and the rest of the file; raises as `files`."""
    file.seek(_directory(file)[1])
    while piece := file.read(1 << 20):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _files(file: BinaryIO, directory: BinaryIO) -> Iterator[Stored]:
    count, at = _directory(file)
    directory.seek(at)
    for _ in range(count):
        entry = _CENTRAL.unpack(directory.read(_CENTRAL.size))
        magic, method, crc32, packed, length, name_length, extra_length, comment_length, offset = entry
        if magic != b"PK\x01\x02" or method != 0:
            raise ValueError("not an uncompressed zip")
        name = directory.read(name_length).decode()
        extra = directory.read(extra_length)
        directory.read(comment_length)
        if _IN_EXTRA in {packed, length, offset}:
            length, offset = _zip64(extra, packed, length, offset)
        yield Stored(name, _data_offset(file, offset), length, crc32, offset)


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Return the number of files, and the offset of the central directory."""
    start = max(0, file.seek(0, os.SEEK_END) - _END.size - _MAX_COMMENT - _END64_LOCATOR.size)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise ValueError("not a zip")
    _, count, _, offset, _ = _END.unpack_from(tail, end)
    locator = end - _END64_LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        _, end64 = _END64_LOCATOR.unpack_from(tail, locator)
        _, count, _, offset = _END64.unpack(os.pread(file.fileno(), _END64.size, end64))
    return count, offset


def _zip64(extra: bytes, packed: int, length: int, offset: int) -> tuple[int, int]:
    """Return length and offset, each from the zip64 field if it is too large for the directory."""
    at = 0
    while at < len(extra):
        tag, size = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            values = iter(struct.unpack_from(f"<{size // 8}Q", extra, at + 4))
            length = next(values) if length == _IN_EXTRA else length
            if packed == _IN_EXTRA:
                next(values)
            return length, next(values) if offset == _IN_EXTRA else offset
        at += 4 + size
    raise ValueError("a zip64 field of the zip is missing")


def _data_offset(file: BinaryIO, header: int) -> int:
    magic, name_length, extra_length = _LOCAL.unpack(os.pread(file.fileno(), _LOCAL.size, header))
    if magic != b"PK\x03\x04":
        raise ValueError("not a zip")
    return header + _LOCAL.size + int(name_length) + int(extra_length)
