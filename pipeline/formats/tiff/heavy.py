"""Leave out a TIFF's entries of megabytes that nothing of the pixels depends on, such as Photoshop's layers and XMP.

libtiff reads all entries of a directory into memory, each twice: 400 MB of layers took 800 MB. So libvips gets the file
with such entries shortened to one value. No other byte changes, and no offset. Pure functions.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import NamedTuple

from pipeline.formats.tiff.directory import Directory, Entry, File, Tag, seek_to
from pipeline.formats.tiff.pages import directories, find

HEAVY = 4 << 20
"""Bytes of an entry from which on it is left out. XMP of a photograph has some kilobytes."""

HEAVY_PROFILE = 32 << 20
"""Bytes of a colour profile from which on it is left out. Profiles of inks have a few megabytes."""

NEEDED = frozenset(
    {
        Tag.BITS,
        Tag.COLOUR_MAP,
        Tag.EXTRA_SAMPLES,
        Tag.JPEG_TABLES,
        Tag.SAMPLE_FORMAT,
        Tag.STRIP_LENGTHS,
        Tag.STRIP_OFFSETS,
        Tag.SUB_DIRECTORIES,
        Tag.TILE_LENGTHS,
        Tag.TILE_OFFSETS,
    }
)
"""Entries that the pixels depend on, and that may be long."""


class Patch(NamedTuple):
    """Bytes to read instead of the file's, and their offset."""

    offset: int
    data: bytes


def patches(file: File, page: int, sub: int | None = None) -> list[Patch]:
    """Return what makes the heavy entries of a page short, and those of the first page, which libtiff always reads.

    Parameters
    ----------
    page: from 0.
    sub: index of a sub-directory of the page, from 0.
    """
    found: dict[int, Patch] = {}
    with suppress(struct.error, StopIteration):
        found |= _of(file, next(directories(file)))
    for below in {None, sub}:
        with suppress(struct.error):
            if directory := find(file, page, below):
                found |= _of(file, directory)
    return list(found.values())


def patched(data: bytes, position: int, changes: list[Patch]) -> bytes:
    """Return bytes that were read at a position of the file, with the patches applied."""
    for offset, new in changes:
        first, end = max(offset, position), min(offset + len(new), position + len(data))
        if first < end:
            data = data[: first - position] + new[first - offset : end - offset] + data[end - position :]
    return data


def _of(file: File, directory: Directory) -> dict[int, Patch]:
    """Return the patches of a directory, by their offsets."""
    found: dict[int, Patch] = {}
    if not any(entry.length >= HEAVY for entry in directory.entries.values()):
        return found
    order, word = directory.order, "Q" if directory.big else "I"
    head, size, inline = (8, 20, 8) if directory.big else (2, 12, 4)
    seek_to(file, directory.offset)
    (count,) = struct.unpack(f"{order}{'Q' if directory.big else 'H'}", file.read(head))
    stored = file.read(count * size)
    for number, fields in enumerate(struct.iter_unpack(f"{order}HH{word}{inline}s", stored)):
        entry = Entry(*fields)
        if entry.tag in NEEDED or entry.length < (HEAVY_PROFILE if entry.tag == Tag.PROFILE else HEAVY):
            continue
        value = bytes(inline) if entry.length // entry.values <= inline else entry.value
        at = directory.offset + head + number * size + 4
        found[at] = Patch(at, struct.pack(f"{order}{word}", 1) + value)
    return found
