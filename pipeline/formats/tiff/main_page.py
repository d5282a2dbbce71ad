"""Choose the main picture of a TIFF of several pages: docs/decisions/0023. Pure functions.

Sources: how the writers of slides mark their labels: Aperio (a line "label 387x463" in the description), Philips and
Ventana ("Label", "Label Image"), OME-TIFF (the name of an image), Hamamatsu (the lens, -1 for a macro view), as
tifffile and OpenSlide read them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.tiff.directory import Directory, File, Tag
from pipeline.formats.tiff.pages import Place, pages

MOST_PAGES = 10_000
"""Most pages that are compared, which takes half a second. The main picture of a file with more is one of these."""

MOST_TEXT, MOST_XML = 1 << 12, 1 << 22
"""Most bytes of a description that are searched for a label's line, and for OME-XML, which has about a kilobyte for
each plane."""

_TEXTS, _FLOAT = {1, 2, 7}, 11
"""Types of bytes, text and undefined; type of a 32-bit float."""

_WORDS = r"(?:slide[ _-]?)?(?:label|macro|barcode)(?:[ _-]?(?:image|view|photo))?"

_NAME = re.compile(rf"\s*{_WORDS}\s*", re.IGNORECASE)
"""A name of a page or of an image that shows a label or a macro view."""

_LINE = re.compile(rf"^[ \t]*{_WORDS}[ \t]*(?:\d+[ \t]*x[ \t]*\d+[ \t]*)?(?:[|;].*)?\r?$", re.IGNORECASE | re.MULTILINE)
"""A line of a description that says so, with or without a size."""

_OME = re.compile(r"<(?:\w+:)?(?:(Image)|(TiffData))\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"\b(Name|IFD|PlaneCount)\s*=\s*[\"']([^\"']*)[\"']")


class Main(NamedTuple):
    """The main picture of a file.

    Parameters
    ----------
    page: its number, from 0.
    width, height: of it, in pixels.
    others: number of the other pages that are no smaller versions and no masks: a label is one of them.
    named: number of labels and macro views.
    is_sure: whether all pages were compared.
    """

    page: int
    width: int
    height: int
    others: int = 0
    named: int = 0
    is_sure: bool = True


class _Candidate(NamedTuple):
    page: int
    width: int
    height: int
    is_reduced: bool

    @property
    def pixels(self) -> int:
        return self.width * self.height


def main_page(file: File) -> Main | None:
    """Return the main picture: the largest full page that is no label and no macro view, the first of equal ones.

    If there is no full page, it is the largest smaller version that is none of them.

    Returns
    -------
    None if the file has no page that can be read.

    Raises
    ------
    StageError: page_not_found, if there is nothing but labels and macro views.
    struct.error: if the file ends before the first page that is none of them.
    """
    found: list[_Candidate] = []
    named = 0
    is_sure = False
    with suppress(struct.error):
        for page, place, directory, by_ome in _each(file):
            if by_ome or is_named(directory):
                named += 1
                continue
            width, height = directory.value(Tag.WIDTH, 0), directory.value(Tag.HEIGHT, 0)
            found.append(_Candidate(page, width, height, place.is_reduced))
        is_sure = True
    if not found:
        if named and not is_sure:
            raise struct.error("the file ends before a page that is no label")
        if named:
            raise StageError(
                "page_not_found",
                "The TIFF has nothing but a label or macro view, which may show names. If you want it, ask for it by "
                "its number, such as page 0.",
            )
        return None
    full = [one for one in found if not one.is_reduced]
    chosen = max(full or found, key=lambda one: one.pixels)
    return Main(chosen.page, chosen.width, chosen.height, max(0, len(full) - 1) + named, named, is_sure)


def full_pages(file: File) -> list[int]:
    """Return the numbers of all pages that are no smaller version, no label and no macro view.

    If there is none, it is the main picture.

    Raises
    ------
    StageError: page_not_found, as main_page.
    struct.error: if the file ends within a directory.
    """
    each = _each(file)
    found = [page for page, place, directory, by_ome in each if not (place.is_reduced or by_ome or is_named(directory))]
    if not found and (main := main_page(file)) is not None:
        found.append(main.page)
    return found


def _each(file: File) -> Iterator[tuple[int, Place, Directory, bool]]:
    """Yield each page: its number, its place, its directory, and whether OME-XML names it as a label or a macro view.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    labels: frozenset[int] = frozenset()
    for page, place in enumerate(islice(pages(file), MOST_PAGES)):
        directory = place.read(file)
        if page == 0:
            labels = labels_in_ome(directory)
        yield page, place, directory, place.number in labels


def is_named(directory: Directory) -> bool:
    """Return whether a page is marked as a label or a macro view.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    lens = directory.entries.get(Tag.NDPI_LENS)
    if lens is not None and lens.kind == _FLOAT and lens.values == 1:
        (value,) = struct.unpack(f"{directory.order}f", directory.raw(lens)[:4])
        if value == -1:
            return True
    if _NAME.fullmatch(_text(directory, Tag.PAGE_NAME)):
        return True
    return bool(_LINE.search(_text(directory, Tag.DESCRIPTION)))


def labels_in_ome(first: Directory) -> frozenset[int]:
    """Return the numbers, with masks, of the directories that OME-XML names as a label or a macro view.

    Parameters
    ----------
    first: the first page, whose description is the XML of the whole file.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    description = _text(first, Tag.DESCRIPTION, MOST_XML)
    return frozenset(_directories_of(description)) if "<" in description and "OME" in description else frozenset()


def _directories_of(description: str) -> Iterator[int]:
    is_label = False
    for found in _OME.finditer(description):
        values = dict(_ATTRIBUTE.findall(found[3]))
        if found[1]:
            is_label = bool(_NAME.fullmatch(values.get("Name", "")))
        elif is_label and values.get("IFD", "").isdecimal():
            count = values.get("PlaneCount", "1")
            first = int(values["IFD"][:9])
            yield from range(first, first + min(MOST_PAGES, int(count[:9]) if count.isdecimal() else 1))


def _text(directory: Directory, tag: Tag, most: int = MOST_TEXT) -> str:
    entry = directory.entries.get(tag)
    if entry is None or entry.kind not in _TEXTS:
        return ""
    return directory.beginning(entry, most).split(b"\0")[0].decode("utf-8", errors="replace")
