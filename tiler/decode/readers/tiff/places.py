"""Find the directories of a TIFF's pages and masks, each once: there may be a million of them before a page."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pipeline.formats import tiff
from pipeline.formats.header import UNKNOWN_PAGES, Header, require_page
from pipeline.formats.tiff.heavy import Patch, patches

Key = tuple[int, int | None]
"""A page, and the index of a sub-directory of it or None."""

_Found = tuple[str, bool, int]


class Places:
    """The directories of one file, by page and sub-directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[int, tiff.Place | None] = {}
        self._directories: dict[Key, _Found] = {}
        self._replaced: dict[int, dict[int, tiff.Entry]] = {}
        self._masks: dict[Key, _Found | None] = {}
        self._options: dict[int, dict[str, int]] = {}
        self._patches: dict[Key, list[Patch]] = {}

    def place(self, file: BinaryIO, page: int) -> tiff.Place | None:
        """As `tiff.page_at`."""
        if page not in self._places:
            self._places[page] = tiff.page_at(file, page)
        return self._places[page]

    def directory(self, file: BinaryIO, page: int, subifd: int | None = None) -> tiff.Directory | None:
        """As `tiff.find`, with the entries of `replace`."""
        directory = self._found(file, page, subifd)
        if directory and subifd is None and page in self._replaced:
            directory.entries = self._replaced[page]
        return directory

    def replace(self, page: int, directory: tiff.Directory) -> None:
        """Give a page the entries of another directory from now on."""
        self._replaced[page] = directory.entries

    def _found(self, file: BinaryIO, page: int, subifd: int | None) -> tiff.Directory | None:
        if place := self._directories.get((page, subifd)):
            return tiff.Directory(file, *place)
        if directory := tiff.find(file, page, subifd):
            self._directories[page, subifd] = directory.order, directory.big, directory.offset
        return directory

    def mask(self, file: BinaryIO, page: int, subifd: int | None = None) -> tiff.Directory | None:
        """As `tiff.mask_of`."""
        key = page, subifd
        if key not in self._masks:
            found = tiff.mask_of(file, page, subifd)
            self._masks[key] = (found.order, found.big, found.offset) if found else None
        place = self._masks[key]
        return tiff.Directory(file, *place) if place else None

    def patches(self, page: int, subifd: int | None) -> list[Patch]:
        """As pipeline.formats.tiff.heavy.patches."""
        key = page, subifd
        if key not in self._patches:
            with self._path.open("rb") as file:
                self._patches[key] = patches(file, page, subifd)
        return self._patches[key]

    def options(self, page: int) -> dict[str, int]:
        """Return the options with which libvips opens a page: it counts masks, too. A lost page keeps its number."""
        if page not in self._options:
            self._options[page] = {"page": page}
            with self._path.open("rb") as file, suppress(struct.error):
                if place := self.place(file, page):
                    # libvips counts masks, too.
                    require_page(Header("tiff", 1, 1, UNKNOWN_PAGES), place.number)
                    below = {} if place.sub is None else {"subifd": place.sub}
                    self._options[page] = {"page": place.number} | below
        return self._options[page]

    @cached_property
    def surplus(self) -> int:
        """As tiff.surplus_of."""
        with self._path.open("rb") as file:
            return tiff.surplus_of(file)
