"""Present a file to libvips without its entries of megabytes: see pipeline.formats.tiff.heavy."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from pipeline.formats.tiff.heavy import Patch, patched
from tiler.decode.readers.tiff.virtual_tiff import VirtualTiff


class Slimmed(VirtualTiff):
    """The real file, with some bytes of its directories replaced.

    Parameters
    ----------
    path: of the real file.
    changes: the replaced bytes.
    """

    def __init__(self, path: Path, changes: list[Patch]) -> None:
        super().__init__()
        self._changes = changes
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._file = file
        self._size = path.stat().st_size

    def length(self) -> int:
        """As VirtualTiff.length."""
        return self._size

    def piece(self, position: int, size: int) -> bytes:
        """As VirtualTiff.piece; raises OSError."""
        return patched(os.pread(self._file.fileno(), size, position), position, self._changes)
