"""Find the strips or tiles of a damaged page that can be decoded, each range of them as a TIFF of its own."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import pyvips

from pipeline.formats.tiff import PLACES, Directory, Tag
from pipeline.formats.tiff.checks import HEAD_SIZE
from pipeline.formats.tiff.directory import Entry
from pipeline.formats.tiff.layout import Compression, Layout, is_coarse, layout_of
from tiler.decode.readers.tiff.left_out import LeftOut

SPLIT_BYTES = 1 << 16
"""Most bytes of an uncompressed strip: larger ones are split, so that less is lost with one. libtiff does the same."""

LOST = 255

_ASCII = 2
_TEXTS = {700, 33723, 34377, 37724, Tag.IMAGEJ, Tag.IMAGEJ_COUNTS}
"""Tags of bytes that do not concern pixels: XMP, IPTC, Photoshop's resources and layers, and what ImageJ says."""


class Lost(NamedTuple):
    """The strips or tiles of a page that cannot be decoded.

    Parameters
    ----------
    directory: of the page, as if it had left them out. Its strips may be smaller than those of the file.
    layout: of that directory.
    marks: for each of its strips or tiles of all planes, LOST or 0.
    """

    directory: Directory
    layout: Layout
    marks: bytes

    @property
    def is_all(self) -> bool:
        """Whether nothing can be shown: each place has lost some plane, or had all of them left out of the file."""
        of_plane, lost = len(self.marks) // self.layout.planes, set(self._places())
        _, lengths = self.directory.listed()
        return not any(any(lengths[number::of_plane]) for number in range(of_plane) if number not in lost)

    def what(self) -> str:
        """Name what is lost."""
        layout = self.layout
        of_plane = len(self.marks) // layout.planes
        places = len(self._places())
        if layout.tiled:
            return f"{places:,} of {of_plane:,} tiles"
        is_last = any(self.marks[of_plane - 1 :: of_plane])
        rows = places * layout.rows - (layout.down * layout.rows - layout.height if is_last else 0)
        return f"{rows:,} of {layout.height:,} rows"

    def _places(self) -> list[int]:
        """Return the places of strips or tiles, numbered as in one plane, of which any plane is lost."""
        of_plane = len(self.marks) // self.layout.planes
        return [number for number in range(of_plane) if any(self.marks[number::of_plane])]

    def mask(self) -> pyvips.Image:
        """Return an image of one band, 255 where any plane of a pixel is lost."""
        mask = LeftOut(self.layout, self.marks).mask()
        return mask.bandor() if mask.bands > 1 else mask


def lost_of(directory: Directory, size: int, decodes: Callable[[Directory], bool]) -> Lost | None:
    """Find what is lost of a page; None if its layout is inconsistent or it does not list all strips or tiles.

    Parameters
    ----------
    directory: of the page.
    size: of the file in bytes.
    decodes: decodes a page strictly, and returns whether that succeeds.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    directory = _split(directory)
    layout = layout_of(directory)
    offsets, lengths = directory.listed()
    if layout is None or min(len(offsets), len(lengths)) < layout.chunks:
        return None
    search = _Search(directory, layout, size, decodes)
    search.narrow(range(layout.down), range(search.across))
    return Lost(search.directory, layout, bytes(search.marks))


def without_cut_texts(directory: Directory, size: int) -> tuple[Directory, bool]:
    """Leave out the texts within which the file ends. They do not concern pixels, and many writers put them last.

    Parameters
    ----------
    size: of the file in bytes.

    Returns
    -------
    The directory, and whether its description is left out.
    """
    found = copy(directory)
    found.entries = {tag: entry for tag, entry in directory.entries.items() if not _is_cut_text(directory, entry, size)}
    return found, len(found.entries) < len(directory.entries) and Tag.DESCRIPTION not in found.entries


def _is_cut_text(directory: Directory, entry: Entry, size: int) -> bool:
    is_text = (entry.kind == _ASCII and entry.tag != Tag.NODATA) or entry.tag in _TEXTS
    return is_text and entry.length > len(entry.value) and directory.place(entry) + entry.length > size


class _Search:
    """Finds what is lost by halves: a range that decodes as a whole is sound."""

    def __init__(self, directory: Directory, layout: Layout, size: int, decodes: Callable[[Directory], bool]) -> None:
        self.across = layout.chunks // layout.down // layout.planes
        self.marks = bytearray(layout.chunks)
        self._page = directory
        self._layout = layout
        self._decodes = decodes
        found, counts = directory.listed()
        self._offsets, self._lengths = array("Q", found[: layout.chunks]), array("Q", counts[: layout.chunks])
        for number in range(layout.chunks):
            offset, length = self._offsets[number], self._lengths[number]
            if (offset, length) != (0, 0) and (not length or offset < HEAD_SIZE or offset + length > size):
                self._lose(number)

    @property
    def directory(self) -> Directory:
        """The page's directory as if it had left out what is lost."""
        return self._page.replaced(self._listed(self._offsets, self._lengths))

    def narrow(self, rows: range, columns: range) -> None:
        """Mark what is lost of some rows and columns of strips or tiles. One that fails alone is lost in all planes."""
        stack = [(rows, columns)]
        while stack:
            rows, columns = stack.pop()
            numbers = self._numbers(rows, columns)
            if not any(self._lengths[number] for number in numbers) or self._decodes(self._part(rows, columns)):
                continue
            if len(rows) > 1:
                half = len(rows) // 2
                stack += [(rows[half:], columns), (rows[:half], columns)]
            elif len(columns) > 1:
                half = len(columns) // 2
                stack += [(rows, columns[half:]), (rows, columns[:half])]
            else:
                for number in numbers:
                    self._lose(number)

    def _lose(self, number: int) -> None:
        self.marks[number] = LOST
        self._offsets[number] = self._lengths[number] = 0

    def _numbers(self, rows: range, columns: range) -> list[int]:
        of_plane = self._layout.down * self.across
        planes = range(self._layout.planes)
        return [plane * of_plane + row * self.across + column for plane in planes for row in rows for column in columns]

    def _part(self, rows: range, columns: range) -> Directory:
        layout, numbers = self._layout, self._numbers(rows, columns)
        height = min(layout.height, rows.stop * layout.rows) - rows.start * layout.rows
        changed = self._listed(
            array("Q", (self._offsets[number] for number in numbers)),
            array("Q", (self._lengths[number] for number in numbers)),
        )
        changed[Tag.HEIGHT] = array("Q", [height])
        if layout.tiled:
            changed[Tag.WIDTH] = array(
                "Q", [min(layout.width, columns.stop * layout.columns) - columns.start * layout.columns]
            )
        else:
            changed[Tag.ROWS_PER_STRIP] = array("Q", [min(height, layout.rows)])
        return self._page.replaced(changed)

    def _listed(self, offsets: array[int], lengths: array[int]) -> dict[Tag, array[int]]:
        offsets_tag, lengths_tag = PLACES[self._layout.tiled]
        return {offsets_tag: offsets, lengths_tag: lengths}


def _split(directory: Directory) -> Directory:
    """Return the directory of a page with its large uncompressed strips split into smaller ones."""
    layout = layout_of(directory)
    is_plain = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE and not is_coarse(directory)
    if layout is None or layout.tiled or not is_plain:
        return directory
    most = max(1, SPLIT_BYTES // layout.row_bytes)
    rows = most if layout.down == 1 else next(rows for rows in range(most, 0, -1) if layout.rows % rows == 0)
    stored, counts = directory.listed()
    if layout.rows <= rows or min(len(stored), len(counts)) < layout.chunks:
        return directory
    offsets, lengths = array("Q"), array("Q")
    for number in range(layout.chunks):
        top = number % layout.down * layout.rows
        for row in range(0, min(layout.rows, layout.height - top), rows):
            length = min(rows, layout.rows - row, layout.height - top - row) * layout.row_bytes
            # A strip that is shorter than its rows lacks the last ones; if only one is listed, 0 is to the file's end.
            is_whole = row * layout.row_bytes + length <= counts[number] or (layout.chunks == 1 and not counts[0])
            offsets.append(stored[number] + row * layout.row_bytes)
            lengths.append(length if is_whole else 0)
    offsets_tag, lengths_tag = PLACES[False]
    return directory.replaced({offsets_tag: offsets, lengths_tag: lengths, Tag.ROWS_PER_STRIP: array("Q", [rows])})
