"""Make a small TIFF of some strips or tiles of a page, copied as they are stored, to estimate the range of its samples.

The small TIFF is read as any other, so that its samples are those of the page.
"""

from __future__ import annotations

import os
from array import array
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.checks import require_listed
from pipeline.formats.tiff.layout import Compression, Layout, layout_of
from tiler.decode.readers.tiff.rewritten import placed
from tiler.decode.readers.tiff.virtual_tiff import head, kept, long, short

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it modulo 1 are spread evenly, however many there are."""

LEAST_CHUNKS = 4
"""With fewer strips or tiles, they say too little of the other parts of the image."""

ENOUGH_CHUNKS = 64
"""Strips or tiles that are desired, however large they are."""

CUT_ROWS = 4
"""Rows of the strips to which an uncompressed page is cut."""

MOST_PIXELS = 1 << 24
"""Most pixels of all chosen strips or tiles."""

MOST_EXPANSION = 2
"""Most stored bytes for each decoded byte. Noise grows a little by compression."""


def write_sample(source: BinaryIO, directory: Directory, pixels: int, path: Path) -> bool:
    """Write the small TIFF. Return False, without a file, if the page has too few or too large strips or tiles.

    Parameters
    ----------
    source: the directory's file.
    pixels: desired number of pixels. There are more if strips or tiles are larger.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: if the file ends within the directory's values.
    OSError: if the file cannot be written.
    """
    layout = layout_of(directory)
    if layout is None:
        return False
    places = _places(directory, layout)
    rows = layout.rows
    if not layout.tiled and directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.NONE:
        places, rows = _cut(places, layout)
    chosen = _chosen(places, pixels, layout.columns * rows)
    most = MOST_EXPANSION * layout.row_bytes * rows
    if not chosen or any(length > most for piece in chosen for _, length in piece):
        return False
    with path.open("wb") as target:
        target.write(_head(directory, layout, rows, chosen))
        for pieces in zip(*chosen, strict=True):
            for offset, length in pieces:
                target.write(os.pread(source.fileno(), length, offset))
    return True


_Piece = tuple[tuple[int, int], ...]
"""Offset and length of a strip or tile, in each plane."""


def _places(directory: Directory, layout: Layout) -> list[_Piece]:
    """Return the places of all strips or tiles that are full and not left out of the file."""
    offsets, lengths = directory.listed()
    require_listed(offsets, lengths, layout)
    of_plane = layout.chunks // layout.planes
    across = -(-layout.width // layout.columns)
    full_across, full_down = layout.width // layout.columns, layout.height // layout.rows
    found = []
    for down in range(full_down):
        for column in range(full_across):
            number = down * across + column
            piece = tuple((offsets[at], lengths[at]) for at in range(number, layout.chunks, of_plane))
            if all(length for _, length in piece):
                found.append(piece)
    return found


def _cut(places: list[_Piece], layout: Layout) -> tuple[list[_Piece], int]:
    """Cut the strips of an uncompressed page to CUT_ROWS, if they are higher."""
    rows = min(CUT_ROWS, layout.rows)
    step = rows * layout.row_bytes
    cut = [
        tuple((offset + at * step, step) for offset, _ in piece)
        for piece in places
        for at in range(layout.rows // rows)
    ]
    return cut, rows


def _chosen(places: list[_Piece], pixels: int, each: int) -> list[_Piece]:
    """Return evenly spread places, in the file's order; none if there are too few."""
    wanted = max(-(-pixels // each), min(ENOUGH_CHUNKS, MOST_PIXELS // each))
    if min(len(places), wanted) < LEAST_CHUNKS:
        return []
    if wanted >= len(places):
        return places
    return [places[number] for number in sorted({int(at * GOLDEN % 1 * len(places)) for at in range(wanted)})]


def _head(directory: Directory, layout: Layout, rows: int, chosen: list[_Piece]) -> bytes:
    order = directory.order
    entries = kept(directory, ())
    entries[Tag.WIDTH] = long(layout.columns, order)
    entries[Tag.HEIGHT] = long(rows * len(chosen), order)
    if not layout.tiled:
        entries[Tag.ROWS_PER_STRIP] = long(rows, order)
    entries[Tag.PLANAR] = short(directory.value(Tag.PLANAR, 1), order)
    lengths = array("Q", (length for piece in zip(*chosen, strict=True) for _, length in piece))
    offsets = array("Q", accumulate(lengths[:-1], initial=0))
    return head(placed(entries, offsets, lengths, directory, layout), order)
