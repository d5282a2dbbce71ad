"""Change a TIFF's directory so that libvips opens the page at little cost. Pure functions.

Entries of megabytes that nothing of the pixels depends on, such as Photoshop's layers and XMP, are left out.

libtiff reads all entries of a directory into memory, each twice: 400 MB of layers took 800 MB. So libvips gets the file
with such entries shortened to one value. Tags about samples that libvips does not open get other values: the pixels of
such a page are read as bytes (tiler.decode.readers.tiff.unpacked). No other byte changes, and no offset.
"""

from __future__ import annotations

import struct
from array import array
from contextlib import suppress
from typing import NamedTuple

from pipeline.formats.tiff.colours import BLACK_IS_ZERO, is_lab_of_bytes
from pipeline.formats.tiff.directory import Directory, File, Tag
from pipeline.formats.tiff.layout import PALETTE, RGB
from pipeline.formats.tiff.pages import directories, find
from pipeline.formats.tiff.samples import is_unpacked, readable

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


_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Letters of `struct` for the types of unsigned integers."""


class Patch(NamedTuple):
    """Bytes to read instead of the file's, and their offset."""

    offset: int
    data: bytes


def patches(file: File, page: int, sub: int | None = None) -> list[Patch]:
    """Return what makes libvips open a page, and the first page, which libtiff always reads, at little cost.

    Parameters
    ----------
    page: from 0.
    sub: index of a sub-directory of the page, from 0.
    """
    found: dict[int, Patch] = {}
    with suppress(struct.error, StopIteration):
        found |= _of(next(directories(file)))
    for below in {None, sub}:
        with suppress(struct.error):
            if directory := find(file, page, below):
                found |= _of(directory)
    return list(found.values())


def patched(data: bytes, position: int, changes: list[Patch]) -> bytes:
    """Return bytes that were read at a position of the file, with the patches applied."""
    for offset, new in changes:
        first, end = max(offset, position), min(offset + len(new), position + len(data))
        if first < end:
            data = data[: first - position] + new[first - offset : end - offset] + data[end - position :]
    return data


def _of(directory: Directory) -> dict[int, Patch]:
    """Return the patches of a directory, by their offsets."""
    found = _of_samples(directory)
    if not any(entry.length >= HEAVY for entry in directory.entries.values()):
        return found
    order, word = directory.order, "Q" if directory.big else "I"
    inline = 8 if directory.big else 4
    for number, entry in enumerate(directory.stored):
        if entry.tag in NEEDED or entry.length < (HEAVY_PROFILE if entry.tag == Tag.PROFILE else HEAVY):
            continue
        value = bytes(inline) if entry.length // entry.values <= inline else entry.value
        at = _entry_at(directory, number) + 4
        found[at] = Patch(at, struct.pack(f"{order}{word}", 1) + value)
    return found


def _of_samples(directory: Directory) -> dict[int, Patch]:
    """Return the patches of the tags about samples that libvips refuses to open, by their offsets."""
    changed = readable(directory) if is_unpacked(directory) else {}
    if changed and directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == PALETTE:
        changed[Tag.PHOTOMETRIC] = array("Q", [BLACK_IS_ZERO])
    if is_lab_of_bytes(directory):
        changed[Tag.PHOTOMETRIC] = array("Q", [RGB])
    found: dict[int, Patch] = {}
    for number, entry in enumerate(directory.stored):
        # If a tag occurs twice, the first one counts.
        values = changed.pop(Tag(entry.tag), None) if entry.tag in changed else None
        if values and (letter := _LETTERS.get(entry.kind)):
            is_inline = entry.length <= len(entry.value)
            at = _entry_at(directory, number) + len(entry.value) + 4 if is_inline else directory.place(entry)
            found[at] = Patch(at, struct.pack(f"{directory.order}{len(values)}{letter}", *values))
    return found


def _entry_at(directory: Directory, number: int) -> int:
    """Return the offset of one of the stored entries."""
    head, size = (8, 20) if directory.big else (2, 12)
    return directory.offset + head + number * size
