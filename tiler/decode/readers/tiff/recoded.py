"""Present a page that libvips cannot read, or reads wrongly, to libvips as a TIFF that it can read.

Which pages need this is decided by pipeline.formats.tiff_layout.is_recoded. The new TIFF is never written to disk:
libvips reads it through a `pyvips.SourceCustom`, and strips and tiles are decoded when libvips reads them. It is a
BigTIFF with this one page and its tags. Its strips and tiles are deflate's stored blocks (RFC 1951, 3.2.4): their
length is known before the pixels are decoded, and libtiff only has to copy them. A predictor (TIFF 6.0, section 14) is
kept, since libtiff undoes it after deflate in the same way. A predictor restarts at each row, so strips can be cut to
another height; that keeps each of them small. Separate planes are joined.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from array import array
from pathlib import Path
from typing import Any, NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, UNREADABLE, damaged
from pipeline.formats.tiff import NATIVE, Directory, Tag
from pipeline.formats.tiff_layout import DECODED, Compression, Layout, is_coarse, layout_of
from tiler.decode.readers.tiff.chunks import Chunks, chunks_of

KEPT_BYTES = 32 << 20
"""Most bytes of all tags that are kept; a profile has a few megabytes. Tags that exceed it are left out."""

BLOCK = 0xFFFF
"""Most bytes of a stored block (RFC 1951, 3.2.4)."""

SHORT, LONG, LONG8 = 3, 4, 16
"""Types of integers of 2, 4 and 8 bytes."""

HEAD_SIZE, COUNT_SIZE, ENTRY_SIZE, NEXT_SIZE, INLINE_SIZE = 16, 8, 20, 8, 8
"""Sizes of a BigTIFF's parts in bytes: the file's head; a directory's number of entries, each entry, the offset of the
next directory; the space for values within an entry."""

MADE_ANEW = {
    Tag.COMPRESSION,
    Tag.STRIP_OFFSETS,
    Tag.STRIP_LENGTHS,
    Tag.TILE_OFFSETS,
    Tag.TILE_LENGTHS,
    Tag.ROWS_PER_STRIP,
    Tag.PLANAR,
}
NOT_CARRIED = {Tag.FILL_ORDER, Tag.SUB_DIRECTORIES, Tag.EXIF, Tag.GPS, Tag.INTEROPERABILITY}
"""Tags that do not apply to the new TIFF: its bits are in normal order, and it has no other directories."""


class _Entry(NamedTuple):
    kind: int
    values: int
    data: bytes


class Recoded:
    """The new TIFF: its head is in memory, its pixels are decoded when they are read.

    Attributes
    ----------
    fault: the error raised in a read, if any. libvips took it for the end of the file.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file may be closed afterwards.

    Raises
    ------
    StageError: image_corrupt, image_truncated, unsupported_format.
    """

    def __init__(self, path: Path, directory: Directory) -> None:
        self.fault: Exception | None = None
        self._position = 0
        self._last = (-1, b"")
        try:
            self._open(path, directory)
        except struct.error as error:
            raise StageError("image_truncated", CUT_SHORT) from error

    def _open(self, path: Path, directory: Directory) -> None:
        layout = layout_of(directory)
        if layout is None:
            raise damaged("its directory is inconsistent")
        if not _is_supported(directory, layout):
            raise StageError("unsupported_format", UNREADABLE)
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._chunks = chunks_of(directory, layout, file)
        self._step = stored_length(max(self._chunks.sizes))
        self._head = _head(directory, self._chunks, layout.tiled, self._step)

    def source(self) -> Any:
        """Return a pyvips.Source that reads the new TIFF."""
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    def _seek(self, offset: int, whence: int) -> int:
        end = len(self._head) + len(self._chunks.sizes) * self._step
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: end}[whence]
        return self._position

    def _read(self, size: int) -> bytes:
        try:
            data = self._piece(size)
        except Exception as error:  # noqa: BLE001  pyvips prints an error of a callback and drops it
            self.fault = self.fault or error
            return b""
        self._position += len(data)
        return data

    def _piece(self, size: int) -> bytes:
        if self._position < len(self._head):
            return self._head[self._position : self._position + size]
        number, within = divmod(self._position - len(self._head), self._step)
        if number >= len(self._chunks.sizes):
            return b""
        if self._last[0] != number:
            self._last = (-1, b"")
            self._last = (number, stored(self._chunks.read(number)))
        return self._last[1][within : within + size]


def _is_supported(directory: Directory, layout: Layout) -> bool:
    """Return whether the strips or tiles can be decoded here, and their sizes give their decoded length."""
    decoded = directory.value(Tag.COMPRESSION, Compression.NONE) in DECODED
    return decoded and not is_coarse(directory) and (layout.planes == 1 or layout.bits % 8 == 0)


def stored_length(size: int) -> int:
    """Return the length of what `stored` returns for `size` bytes."""
    return 2 + 5 * -(-size // BLOCK) + size + 4


def stored(data: bytes) -> bytes:
    """Wrap bytes, at least one, as a zlib stream (RFC 1950) of stored blocks."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for first in range(0, len(data), BLOCK):
        piece = view[first : first + BLOCK]
        parts.append(struct.pack("<BHH", first + BLOCK >= len(data), len(piece), len(piece) ^ BLOCK))
        parts.append(piece)
    parts.append(struct.pack(">I", zlib.adler32(data)))
    return b"".join(parts)


def _head(directory: Directory, chunks: Chunks, tiled: bool, step: int) -> bytes:
    """Return all of the new TIFF that precedes its pixels."""
    entries = _kept(directory)
    count = len(chunks.sizes)
    entries[Tag.PLANAR] = _Entry(SHORT, 1, struct.pack(f"{directory.order}H", 1))
    entries[Tag.COMPRESSION] = _Entry(SHORT, 1, struct.pack(f"{directory.order}H", Compression.DEFLATE))
    if not tiled:
        entries[Tag.ROWS_PER_STRIP] = _Entry(LONG, 1, struct.pack(f"{directory.order}I", chunks.rows))
    offsets, lengths = (Tag.TILE_OFFSETS, Tag.TILE_LENGTHS) if tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS)
    table = array("Q", (stored_length(size) for size in chunks.sizes))
    entries[lengths] = _Entry(LONG8, count, _bytes(table, directory.order))
    entries[offsets] = entries[lengths]
    values_at = HEAD_SIZE + COUNT_SIZE + len(entries) * ENTRY_SIZE + NEXT_SIZE
    first = values_at + sum(len(entry.data) for entry in entries.values() if len(entry.data) > INLINE_SIZE)
    table = array("Q", range(first, first + count * step, step))
    entries[offsets] = _Entry(LONG8, count, _bytes(table, directory.order))
    return _directory(entries, directory.order, values_at)


def _kept(directory: Directory) -> dict[int, _Entry]:
    found: dict[int, _Entry] = {}
    room = KEPT_BYTES
    left_out = MADE_ANEW | NOT_CARRIED
    if directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE:
        left_out |= {Tag.PREDICTOR}  # it applies to compressed pixels only
    for tag, entry in directory.entries.items():
        if tag in left_out or not 0 < entry.length <= room:
            continue
        data = directory.raw(entry)[: entry.length]
        if len(data) < entry.length:
            raise struct.error("the file ends within an entry's values")
        room -= entry.length
        found[tag] = _Entry(entry.kind, entry.values, data)
    return found


def _directory(entries: dict[int, _Entry], order: str, values_at: int) -> bytes:
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


def _bytes(table: array[int], order: str) -> bytes:
    if order != NATIVE:
        table.byteswap()
    return table.tobytes()
