"""A file that a writer can write, and its pixels by another decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.images.pictures import Pixels

WIDTH, HEIGHT = 150, 101
"""Size of the images in pixels: a single tile on the finest level, and no multiple of any tile or strip in the file."""


class NotWritten(Exception):
    """Raised by a writer that does not support the options."""


class File(NamedTuple):
    """A file to write.

    Parameters
    ----------
    kind: the format, and what else the table has a row for.
    options: of the writer, in words.
    ending: of the file's name.
    write: writes the file to a path; raises anything if the writer does not support the options.
    expect: returns the pixels of the file at a path as 8-bit sRGB, with or without alpha, by another decoder.
    near, mean: most that a sample may differ, and all in the mean.
    """

    kind: str
    options: str
    ending: str
    write: Callable[[Path], None]
    expect: Callable[[Path], Pixels]
    near: float = 0.0
    mean: float = 0.0

    @property
    def name(self) -> str:
        """Kind and options."""
        return f"{self.kind}: {self.options}"
