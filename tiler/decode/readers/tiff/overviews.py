"""Find the smaller versions of a page in a TIFF: pages marked as reduced, and sub-directories of the page.

Masks, labels and macro views are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.formats import tiff
from pipeline.formats.header import Header
from tiler.decode.smaller_versions import is_cheap, shows_all

MOST = 32
"""Most directories read: a page with an edge of 2^31 pixels has 24 overviews, each half the size of the one before."""


class Overview(NamedTuple):
    """An overview's size in pixels, and the option with which libvips opens it."""

    width: int
    height: int
    option: dict[str, int]

    @property
    def pixels(self) -> int:
        return self.width * self.height


def overview(path: Path, page: int, header: Header, edge: int) -> Overview | None:
    """Return the smallest overview of a page that is large enough, else the largest; None if that one is not cheap.

    Parameters
    ----------
    page: from 0.
    header: of the page.
    edge: desired least length of the longer edge, in pixels.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    fitting = [found for found in overviews(path, page) if shows_all(found.width, found.height, header)]
    if not fitting:
        return None
    large = [found for found in fitting if max(found.width, found.height) >= edge]
    chosen = min(large, key=lambda found: found.pixels) if large else max(fitting, key=lambda found: found.pixels)
    return chosen if is_cheap(chosen.width, chosen.height, header) else None


def overviews(path: Path, page: int) -> Iterator[Overview]:
    """Yield the overviews of a page in the file's order; raises as `overview`."""
    with path.open("rb") as file:
        found = islice(tiff.pages(file), page, page + 1 + MOST)
        if (place := next(found, None)) is None:
            return
        directory, first = place.read(file), tiff.find(file, 0)
        labels = tiff.labels_in_ome(first) if first else frozenset()
        for index, offset in enumerate(directory.values(tiff.Tag.SUB_DIRECTORIES)[:MOST]):
            below = tiff.Directory(file, directory.order, directory.big, offset)
            if not tiff.kind_of(below) & tiff.MASK and not tiff.is_named(below):
                yield Overview(*_size(below), {"subifd": index})
        for number, later in enumerate(found, page + 1):
            # Labels may be marked as smaller versions, and have the proportions of the page.
            if later.is_reduced and later.number not in labels and not tiff.is_named(below := later.read(file)):
                yield Overview(*_size(below), {"page": number})


def _size(directory: tiff.Directory) -> tuple[int, int]:
    return directory.value(tiff.Tag.WIDTH, 0), directory.value(tiff.Tag.HEIGHT, 0)
