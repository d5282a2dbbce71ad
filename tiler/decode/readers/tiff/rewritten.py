"""Present a page to libvips as a TIFF with other tags, and with the unchanged bytes of the real file.

The new BigTIFF is never written to disk: its head and directory are made in memory, and the real file follows them.
"""

from __future__ import annotations

import os
import struct
import weakref
from array import array
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.tiff import PLACES, Directory, Tag
from pipeline.formats.tiff.layout import Layout, layout_of
from tiler.decode.readers.tiff.virtual_tiff import Entry, VirtualTiff, head, kept, long8, short, size_of


class Rewritten(VirtualTiff):
    """A TIFF of one page: new entries, and the real file behind them.

    Parameters
    ----------
    path: of the real file.
    directory: of the page, whose byte order is kept. Its file may be closed afterwards.
    entries: by tag; offsets count from the beginning of the new TIFF, as `placed` makes them.
    """

    def __init__(self, path: Path, directory: Directory, entries: dict[int, Entry]) -> None:
        super().__init__()
        self._head = head(entries, directory.order)
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._file = file
        self._size = path.stat().st_size

    def length(self) -> int:
        """As VirtualTiff.length."""
        return len(self._head) + self._size

    def piece(self, position: int, size: int) -> bytes:
        """As VirtualTiff.piece; raises OSError."""
        if position < len(self._head):
            return self._head[position : position + size]
        return os.pread(self._file.fileno(), size, position - len(self._head))


def placed(
    entries: Mapping[int, Entry], offsets: array[int], lengths: array[int], directory: Directory, layout: Layout
) -> dict[int, Entry]:
    """Return the entries with the places of strips or tiles, which lie behind the head.

    Parameters
    ----------
    offsets, lengths: in what follows the head, such as the real file.
    directory, layout: of the page.
    """
    order = directory.order
    found = dict(entries)
    offsets_tag, lengths_tag = PLACES[layout.tiled]
    found[lengths_tag] = found[offsets_tag] = long8(lengths, order)
    shift = size_of(found)
    found[offsets_tag] = long8(array("Q", (offset + shift for offset in offsets)), order)
    return found


def rewritten(path: Path, directory: Directory) -> Rewritten:
    """Return a page as a TIFF of its own, with the tags of a directory that may differ from the file's.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """
    layout = layout_of(directory)
    if layout is None:
        raise damaged("its directory is inconsistent")
    try:
        entries = kept(directory, ())
        offsets, lengths = (array("Q", found[: layout.chunks]) for found in directory.listed())
    except struct.error as error:
        raise StageError("image_truncated", CUT_SHORT) from error
    entries[Tag.PLANAR] = short(directory.value(Tag.PLANAR, 1), directory.order)
    return Rewritten(path, directory, placed(entries, offsets, lengths, directory, layout))
