"""Make a BigTIFF of one page for libvips: head and directory in memory, pixels from elsewhere."""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from array import array
from collections.abc import Container
from typing import Any, NamedTuple

import pyvips

from pipeline.formats.tiff import NATIVE, Directory, Tag
from pipeline.formats.tiff.layout import Compression

KEPT_BYTES = 32 << 20
"""Most bytes of all tags that are kept; a profile has a few megabytes. Tags that exceed it are left out."""

SHORT, LONG, LONG8 = 3, 4, 16
"""Types of integers of 2, 4 and 8 bytes."""

HEAD_SIZE, COUNT_SIZE, ENTRY_SIZE, NEXT_SIZE, INLINE_SIZE = 16, 8, 20, 8, 8
"""Sizes of a BigTIFF's parts in bytes: the file's head; a directory's number of entries, each entry, the offset of the
next directory; the space for values within an entry."""

PLACED = {Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS, Tag.TILE_OFFSETS, Tag.TILE_LENGTHS, Tag.PLANAR}
"""Tags that are written new for every such TIFF."""

NOT_CARRIED = {Tag.SUB_DIRECTORIES, Tag.EXIF, Tag.GPS, Tag.INTEROPERABILITY}
"""Tags that are left out, since the new TIFF has no other directories."""


class VirtualTiff(ABC):
    """A TIFF that libvips reads piece by piece.

    Attributes
    ----------
    fault: the error raised in a read, if any. libvips took it for the end of the file.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self._position = 0

    def source(self) -> Any:
        """Return a pyvips.Source that reads the TIFF."""
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    @abstractmethod
    def length(self) -> int:
        """Return the length of the TIFF in bytes."""

    @abstractmethod
    def piece(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes at the position, and at least one unless it is the end."""

    def _seek(self, offset: int, whence: int) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length()}
        self._position = offset + starts[whence]
        return self._position

    def _read(self, size: int) -> bytes:
        try:
            data = self.piece(self._position, size)
        except Exception as error:  # noqa: BLE001  pyvips prints an error of a callback and drops it
            self.fault = self.fault or error
            return b""
        self._position += len(data)
        return data


class Entry(NamedTuple):
    """An entry of the directory: the type and the number of its values, and their bytes."""

    kind: int
    values: int
    data: bytes


def short(value: int, order: str) -> Entry:
    """Return an entry of one 16-bit integer."""
    return Entry(SHORT, 1, struct.pack(f"{order}H", value))


def long(value: int, order: str) -> Entry:
    """Return an entry of one 32-bit integer."""
    return Entry(LONG, 1, struct.pack(f"{order}I", value))


def long8(table: array[int], order: str) -> Entry:
    """Return an entry of 64-bit integers."""
    if order != NATIVE:
        table = array("Q", table)
        table.byteswap()
    return Entry(LONG8, len(table), table.tobytes())


def kept(directory: Directory, left_out: Container[int]) -> dict[int, Entry]:
    """Return the entries of a page that are kept unchanged.

    Raises
    ------
    struct.error: if the file ends within the values of an entry.
    """
    found: dict[int, Entry] = {}
    room = KEPT_BYTES
    is_plain = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE
    for tag, entry in directory.entries.items():
        if tag in left_out or tag in PLACED or tag in NOT_CARRIED or not 0 < entry.length <= room:
            continue
        if is_plain and tag == Tag.PREDICTOR:  # it applies to compressed pixels only
            continue
        data = directory.raw(entry)[: entry.length]
        if len(data) < entry.length:
            raise struct.error("the file ends within an entry's values")
        room -= entry.length
        found[tag] = Entry(entry.kind, entry.values, data)
    return found


def size_of(entries: dict[int, Entry]) -> int:
    """Return the bytes of head, directory and values together."""
    return _values_at(entries) + sum(len(entry.data) for entry in entries.values() if len(entry.data) > INLINE_SIZE)


def head(entries: dict[int, Entry], order: str) -> bytes:
    """Return head, directory and values together. `order` is the byte order of the values, too."""
    values_at = _values_at(entries)
    magic = b"II+\0" if order == "<" else b"MM\0+"
    parts = [magic, struct.pack(f"{order}HHQQ", 8, 0, HEAD_SIZE, len(entries))]
    behind: list[bytes] = []
    for tag, entry in sorted(entries.items()):
        inline = entry.data.ljust(INLINE_SIZE, b"\0")
        if len(entry.data) > INLINE_SIZE:
            inline = struct.pack(f"{order}Q", values_at)
            values_at += len(entry.data)
            behind.append(entry.data)
        parts.append(struct.pack(f"{order}HHQ", tag, entry.kind, entry.values) + inline)
    return b"".join((*parts, bytes(NEXT_SIZE), *behind))


def _values_at(entries: dict[int, Entry]) -> int:
    return HEAD_SIZE + COUNT_SIZE + len(entries) * ENTRY_SIZE + NEXT_SIZE
