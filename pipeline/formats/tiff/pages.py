"""Say what each directory of a TIFF is: a page, a smaller version of one, or a mask. Pure functions.

Sources: TIFF 6.0, section 8 (NewSubfileType, SubfileType); GDAL's driver for TIFF, which writes the mask of a page
behind it, and marks that of a smaller version as both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from pipeline.formats.tiff.directory import MAX_ENTRIES, Directory, File, Tag, seek_to

MAX_DIRECTORIES = 1 << 20
"""Most directories to follow: libtiff's own limit."""

MOST_BEHIND = 64
"""Most directories behind a page, and most sub-directories of it, that are checked for its mask. A page with an edge of
2^31 pixels has 24 smaller versions, each with a mask."""

MOST_REDUCED = 16
"""Most smaller versions whose sub-directories are searched for pictures."""

REDUCED, MASK = 1, 4
"""Bits of Tag.KIND: a smaller version of a page, and a mask that says which pixels of a page are shown."""

_OLD_REDUCED = 2
"""Value of Tag.OLD_KIND for a smaller version."""

_LETTERS = {3: "H", 4: "I"}
"""Letters of `struct` for the types that both tags may have."""

_ENTRY, _BIG_ENTRY = 12, 20
"""Bytes of an entry, and of a BigTIFF's."""


class Place(NamedTuple):
    """Where a directory lies, and what it is.

    Parameters
    ----------
    number: in the file, from 0; libtiff and libvips count masks, too.
    order, big, offset: see Directory.
    kind: bits of Tag.KIND.
    sub: its index among the sub-directories of directory `number`; None if it is that directory itself.
    """

    number: int
    order: str
    big: bool
    offset: int
    kind: int
    sub: int | None = None

    @property
    def is_mask(self) -> bool:
        return bool(self.kind & MASK)

    @property
    def is_reduced(self) -> bool:
        return bool(self.kind & REDUCED)

    def read(self, file: File) -> Directory:
        """Return the directory; raises as Directory."""
        return Directory(file, self.order, self.big, self.offset)


def kind_of(directory: Directory) -> int:
    """Return the bits of Tag.KIND, also of a directory with the tag that preceded it."""
    old = directory.value(Tag.OLD_KIND, 0) == _OLD_REDUCED
    return directory.value(Tag.KIND, REDUCED if old else 0)


def places(file: File) -> Iterator[Place]:
    """Yield all directories of an open TIFF in order. Each costs little, since its values are not read.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = struct.unpack(f"{order}H", file.read(2))
    big = version == 43
    if big:
        file.seek(8)
    (offset,) = struct.unpack(f"{order}{'Q' if big else 'I'}", file.read(8 if big else 4))
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(offset)
        kind, following = _look(file, order, big, offset)
        yield Place(len(seen) - 1, order, big, offset, kind)
        offset = following


def directories(file: File, first: int = 0) -> Iterator[Directory]:
    """Yield all directories of an open TIFF in order, masks too, from directory `first`; raises as `places`."""
    for place in places(file):
        if place.number >= first:
            yield place.read(file)


def pages(file: File) -> Iterator[Place]:
    """Yield the pages of an open TIFF in order: all directories except masks. If all are masks, they are the pages.

    Some writers begin with a small version, and put the picture among its sub-directories. Such pictures come last.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    masks: list[Place] = []
    reduced: list[Place] = []
    has_page = False
    for place in places(file):
        if not place.is_mask:
            has_page = True
            if place.is_reduced and len(reduced) < MOST_REDUCED:
                reduced.append(place)
            yield place
        elif not has_page:
            masks.append(place)
    if not has_page:
        yield from masks
    for place in reduced:
        yield from _larger_below(file, place)


def page_at(file: File, page: int) -> Place | None:
    """Return the place of a page, from 0; None if there is none. Raises as `pages`."""
    return next(islice(pages(file), page, None), None)


def surplus_of(file: File) -> int:
    """Return how many directories libvips counts that are no pages, less the pages that it does not count.

    These are masks, and pictures below a smaller version; as far as the file can be read.
    """
    directories_found = pages_found = 0
    with suppress(struct.error):
        for _ in places(file):
            directories_found += 1
    with suppress(struct.error):
        for _ in pages(file):
            pages_found += 1
    return directories_found - pages_found


def find(file: File, page: int, sub: int | None = None) -> Directory | None:
    """Return the directory of a page, or one of its sub-directories; None if there is none.

    Parameters
    ----------
    page: from 0.
    sub: index of the page's sub-directory, from 0.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    place = page_at(file, page)
    if place is None:
        return None
    directory = place.read(file)
    if sub is None:
        return directory
    offsets = directory.values(Tag.SUB_DIRECTORIES)
    return Directory(file, directory.order, directory.big, offsets[sub]) if sub < len(offsets) else None


def mask_of(file: File, page: int, sub: int | None = None) -> Directory | None:
    """Return the directory of the mask of a page, or of one of its sub-directories; None if it has none.

    A mask belongs to the page before it that has its size. It may be among the page's sub-directories, too.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    own = page_at(file, page)
    shown = find(file, page, sub)
    if own is None or shown is None:
        return None
    is_reduced = bool(kind_of(shown) & REDUCED)
    for found in (*_below(file, own.read(file)), *_behind(file, own)):
        fits = all(found.value(tag, 0) == shown.value(tag, 0) for tag in (Tag.WIDTH, Tag.HEIGHT))
        is_single = found.value(Tag.SAMPLES, 1) == 1
        # Writers do not always mark a sub-directory as reduced.
        if fits and is_single and (sub is not None or bool(kind_of(found) & REDUCED) == is_reduced):
            return found
    return None


def _below(file: File, directory: Directory) -> Iterator[Directory]:
    """Yield the masks among a page's sub-directories."""
    for offset in directory.values(Tag.SUB_DIRECTORIES)[:MOST_BEHIND]:
        with suppress(struct.error):
            below = Directory(file, directory.order, directory.big, offset)
            if kind_of(below) & MASK:
                yield below


def _larger_below(file: File, reduced: Place) -> Iterator[Place]:
    """Yield the pictures among the sub-directories of a smaller version that are larger and full."""
    with suppress(struct.error):
        parent = reduced.read(file)
        for sub, offset in enumerate(parent.values(Tag.SUB_DIRECTORIES)[:MOST_BEHIND]):
            with suppress(struct.error):
                below = Directory(file, parent.order, parent.big, offset)
                kind = kind_of(below)
                if not kind & (REDUCED | MASK) and _pixels(below) > _pixels(parent):
                    yield Place(reduced.number, reduced.order, reduced.big, offset, kind, sub)


def _pixels(directory: Directory) -> int:
    return directory.value(Tag.WIDTH, 0) * directory.value(Tag.HEIGHT, 0)


def _behind(file: File, page: Place) -> Iterator[Directory]:
    """Yield the masks that follow a page, up to the next page that is no smaller version."""
    for place in islice(places(file), page.number + 1, page.number + 1 + MOST_BEHIND):
        if place.is_mask:
            yield place.read(file)
        elif not place.is_reduced:
            return


def _look(file: File, order: str, big: bool, offset: int) -> tuple[int, int]:
    """Return the kind of a directory, and the offset of the next one or 0."""
    seek_to(file, offset)
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    size = _BIG_ENTRY if big else _ENTRY
    kind = 0
    if count <= MAX_ENTRIES:
        kind = _kind_in(file.read(size * count), order, size)
    seek_to(file, offset + (8 if big else 2) + size * count)
    stored = file.read(8 if big else 4)
    # libtiff accepts a file that ends here: there is no further page.
    following = int.from_bytes(stored, "little" if order == "<" else "big") if len(stored) == (8 if big else 4) else 0
    return kind, following


def _kind_in(entries: bytes, order: str, size: int) -> int:
    found = 0
    for at in range(0, len(entries) - size + 1, size):
        tag, kind = struct.unpack_from(f"{order}HH", entries, at)
        if tag in {Tag.KIND, Tag.OLD_KIND} and kind in _LETTERS:
            (value,) = struct.unpack_from(f"{order}{_LETTERS[kind]}", entries, at + (12 if size == _BIG_ENTRY else 8))
            if tag == Tag.KIND:
                return int(value)
            found = REDUCED if value == _OLD_REDUCED else 0
    return found
