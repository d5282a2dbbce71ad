"""Present the beginning of a file to libvips as a file of its own."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import pyvips


class Prefix:
    """The first bytes of a file, and others behind them.

    Parameters
    ----------
    path: of the file.
    end: bytes of the file that are presented; None for all.
    tail: the bytes behind them.
    """

    def __init__(self, path: Path, end: int | None, tail: bytes = b"") -> None:
        file = path.open("rb")
        # libvips does not say when it has read enough, so the file stays open as long as this object lives.
        weakref.finalize(self, file.close)
        self._file = file
        self._end = path.stat().st_size if end is None else end
        self._tail = tail
        self._position = 0

    def open(self, **options: str | int) -> pyvips.Image:
        """Open it as an image; this object has to live as long as the image. Raises pyvips.Error."""
        return pyvips.Image.new_from_source(self.source(), "", **options)

    def source(self) -> Any:
        """Return a pyvips.Source."""
        self._position = 0
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        return source

    def _read(self, size: int) -> bytes:
        if self._position < self._end:
            data = os.pread(self._file.fileno(), min(size, self._end - self._position), self._position)
        else:
            data = self._tail[self._position - self._end :][:size]
        self._position += len(data)
        return data

    def _seek(self, offset: int, whence: int) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end + len(self._tail)}
        self._position = offset + starts[whence]
        return self._position
