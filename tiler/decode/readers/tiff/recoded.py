"""A page that libvips reads not at all, or wrongly (pipeline.formats.tiff_layout.is_recoded), as a TIFF that it reads.

No such file is written: libvips reads it through a source, and what it asks for is decoded as it asks. It is a BigTIFF
of the one page, its tags kept, whose strips and tiles are deflate of the kind that stores bytes as they are (RFC 1951,
3.2.4): of a length known before, and a copy to decode. A predictor (TIFF 6.0, section 14) stays in force, since libtiff
undoes it after deflate as after zstd; it ends with each row, so that strips may be cut anew, and none is large. Planes
that lie apart are joined.
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
"""Of the page's tags together: a profile takes a few megabytes at most. What has no room is left out."""

BLOCK = 0xFFFF
"""Bytes of a stored block at most (RFC 1951, 3.2.4)."""

SHORT, LONG, LONG8 = 3, 4, 16
"""Types of whole numbers of 2, 4 and 8 bytes."""

HEAD_SIZE, COUNT_SIZE, ENTRY_SIZE, NEXT_SIZE, INLINE_SIZE = 16, 8, 20, 8, 8
"""Bytes of a BigTIFF's parts: its head; a directory's number of entries, each entry, the next directory's place; the
room for values in an entry."""

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
"""Tags that do not hold for it: the bits are in order, and there are no other directories."""


class _Entry(NamedTuple):
    kind: int
    values: int
    data: bytes


class Recoded:
    """Reads like that file, of which little is there before it is read.

    Attributes
    ----------
    fault: what went wrong in a read, which libvips took for the file's end.

    Parameters
    ----------
    path: of the real file.
    directory: of the page; its file need not stay open.

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
            raise damaged("its directory makes no sense")
        if not _is_supported(directory, layout):
            raise StageError("unsupported_format", UNREADABLE)
        file = path.open("rb")
        # libvips tells nobody when it has read enough: the file is open for as long as this is kept.
        weakref.finalize(self, file.close)
        self._chunks = chunks_of(directory, layout, file)
        self._step = stored_length(max(self._chunks.sizes))
        self._head = _head(directory, self._chunks, layout.tiled, self._step)

    def source(self) -> Any:
        """Give a pyvips.Source of it."""
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
        except Exception as error:  # noqa: BLE001  what a callback raises is printed and forgotten
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
    """Tell whether its strips or tiles can be decoded, and have the length that their sizes say."""
    decoded = directory.value(Tag.COMPRESSION, Compression.NONE) in DECODED
    return decoded and not is_coarse(directory) and (layout.planes == 1 or layout.bits % 8 == 0)


def stored_length(size: int) -> int:
    """Give the bytes that `stored` makes of so many."""
    return 2 + 5 * -(-size // BLOCK) + size + 4


def stored(data: bytes) -> bytes:
    """Give bytes as deflate in zlib's wrapping (RFC 1950) that stores them as they are; there is at least one."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for first in range(0, len(data), BLOCK):
        piece = view[first : first + BLOCK]
        parts.append(struct.pack("<BHH", first + BLOCK >= len(data), len(piece), len(piece) ^ BLOCK))
        parts.append(piece)
    parts.append(struct.pack(">I", zlib.adler32(data)))
    return b"".join(parts)


def _head(directory: Directory, chunks: Chunks, tiled: bool, step: int) -> bytes:
    """Give all of the file that comes before its pixels."""
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
        left_out |= {Tag.PREDICTOR}  # which is in force for compressed pixels only
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
