"""Strips or tiles that a TIFF leaves out on purpose (GDAL's SPARSE_OK): their offset and their length are both 0.

They are never decoded. A stored one stands at the place of each, so that any decoder reads the page, and its pixels are
painted over before anything else sees them: docs/decisions/0023.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import pyvips

from pipeline.formats.tiff import PLACES, Directory, Tag
from pipeline.formats.tiff.layout import Layout, layout_of

_LEFT_OUT = 255


class LeftOut(NamedTuple):
    """The strips or tiles that a page leaves out.

    Parameters
    ----------
    layout: of the page.
    marks: for each strip or tile of all planes, 255 if it is left out and 0 if it is stored.
    """

    layout: Layout
    marks: bytes

    @property
    def missing(self) -> int:
        """Strips or tiles that are left out."""
        return self.marks.count(_LEFT_OUT)

    @property
    def is_all(self) -> bool:
        """Whether no strip or tile is stored."""
        return self.missing == len(self.marks)

    def repeated_bytes(self, directory: Directory) -> int:
        """Return the bytes that are read again for strips or tiles that are left out, beyond those of their pixels.

        Raises
        ------
        struct.error: if the file ends within the directory's values.
        """
        _, lengths = directory.listed()
        stored = [lengths[number] for number, mark in enumerate(self.marks) if mark != _LEFT_OUT]
        return self.missing * max(0, min(stored, default=0) - self.layout.chunk_bytes)

    @property
    def strips(self) -> range:
        """The rows of strips or tiles that are decoded.

        The last strip of a page may have fewer rows than the others, and then neither can stand for the other. If it is
        the only one that is left out, or the only one that is stored, the rest is not decoded.
        """
        layout = self.layout
        last = layout.down - 1
        if layout.tiled or layout.height % layout.rows == 0 or self.is_all:
            return range(layout.down)
        stored = {number % layout.down == last for number, mark in enumerate(self.marks) if mark != _LEFT_OUT}
        return range(0 if False in stored else last, layout.down if True in stored else last)

    def filled(self, directory: Directory) -> Directory:
        """Return the page's directory with `strips` only, and the shortest stored one in place of each left-out one.

        Raises
        ------
        struct.error: if the file ends within the directory's values.
        """
        layout, strips = self.layout, self.strips
        offsets, lengths = (array("Q", found[: layout.chunks]) for found in directory.listed())
        across = layout.chunks // layout.down // layout.planes
        ragged = not layout.tiled and layout.height % layout.rows != 0
        shortest: dict[bool, int] = {}
        for number, mark in enumerate(self.marks):
            is_last = ragged and number % layout.down == layout.down - 1
            if mark != _LEFT_OUT and lengths[number] < lengths[shortest.setdefault(is_last, number)]:
                shortest[is_last] = number
        chosen = array("Q")
        for number, mark in enumerate(self.marks):
            if number // across % layout.down in strips:
                is_last = ragged and number % layout.down == layout.down - 1
                chosen.append(shortest[is_last] if mark == _LEFT_OUT else number)
        height = min(layout.height, strips.stop * layout.rows) - strips.start * layout.rows
        offsets_tag, lengths_tag = PLACES[layout.tiled]
        changed = {
            offsets_tag: array("Q", (offsets[number] for number in chosen)),
            lengths_tag: array("Q", (lengths[number] for number in chosen)),
        }
        if len(strips) < layout.down:
            changed |= {Tag.HEIGHT: array("Q", [height]), Tag.ROWS_PER_STRIP: array("Q", [min(height, layout.rows)])}
        return directory.replaced(changed)

    def mask(self) -> pyvips.Image:
        """Return a mask of the page's size, 255 where a strip or tile is left out, with one band for each plane."""
        layout = self.layout
        of_plane = len(self.marks) // layout.planes
        planes = [
            pyvips.Image.new_from_memory(
                self.marks[plane * of_plane : (plane + 1) * of_plane], of_plane // layout.down, layout.down, 1, "uchar"
            )
            for plane in range(layout.planes)
        ]
        marks = planes[0].bandjoin(planes[1:]) if len(planes) > 1 else planes[0]
        return marks.zoom(layout.columns, layout.rows).crop(0, 0, layout.width, layout.height)


def left_out_of(directory: Directory) -> LeftOut | None:
    """Return what a page leaves out; None if nothing, or if its layout is inconsistent.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    layout = layout_of(directory)
    offsets, lengths = directory.listed()
    if layout is None or min(len(offsets), len(lengths)) < layout.chunks:
        return None
    pairs = zip(offsets[: layout.chunks], lengths[: layout.chunks], strict=True)
    marks = bytes(_LEFT_OUT if place == (0, 0) else 0 for place in pairs)
    return LeftOut(layout, marks) if _LEFT_OUT in marks else None
