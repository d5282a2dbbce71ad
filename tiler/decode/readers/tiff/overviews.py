"""The smaller versions of a page that a TIFF keeps: pages marked as reduced, and those below the page's directory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.formats import tiff
from pipeline.formats.header import Header
from tiler.decode.smaller import is_cheap, shows_all

MOST = 32
"""Directories looked at: a page of 2^31 pixels to an edge has 24 overviews, each half of the one before."""


class Overview(NamedTuple):
    """An overview's size in pixels, and the option by which libvips opens it."""

    width: int
    height: int
    option: dict[str, int]

    @property
    def pixels(self) -> int:
        return self.width * self.height


def overview(path: Path, page: int, header: Header, edge: int) -> Overview | None:
    """Give the least overview of a page that is large enough, or the largest; None where none is cheap.

    Parameters
    ----------
    page: from 0.
    header: of the page.
    edge: pixels that its longer edge should have at least.

    Raises
    ------
    struct.error: where a directory breaks off.
    """
    fitting = [found for found in overviews(path, page) if shows_all(found.width, found.height, header)]
    if not fitting:
        return None
    large = [found for found in fitting if max(found.width, found.height) >= edge]
    chosen = min(large, key=lambda found: found.pixels) if large else max(fitting, key=lambda found: found.pixels)
    return chosen if is_cheap(chosen.width, chosen.height, header) else None


def overviews(path: Path, page: int) -> Iterator[Overview]:
    """Give the overviews of a page, in the file's order; raises as `overview`."""
    with path.open("rb") as file:
        directories = islice(tiff.directories(file, page), 1 + MOST)
        if (directory := next(directories, None)) is None:
            return
        for index, offset in enumerate(directory.values(tiff.Tag.SUB_DIRECTORIES)[:MOST]):
            below = tiff.Directory(file, directory.order, directory.big, offset)
            yield Overview(*_size(below), {"subifd": index})
        for number, later in enumerate(directories, page + 1):
            if later.value(tiff.Tag.KIND, 0) & tiff.REDUCED:
                yield Overview(*_size(later), {"page": number})


def _size(directory: tiff.Directory) -> tuple[int, int]:
    return directory.value(tiff.Tag.WIDTH, 0), directory.value(tiff.Tag.HEIGHT, 0)
