"""A stored source as it is opened, as often as it takes: which page, how strictly, by which reader."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyvips

from pipeline import kinds, tiff
from pipeline.header import Header, header_of, memory_of, require_page
from tiler.remarks import is_harmless

_FAIL_ON = {"jpeg": ("warning", "error"), "gif": ("warning", "warning"), "tiff": ("error", "truncated")}
"""libvips' fail_on, strict and lenient; "error" for all others, which do not heed "warning" or fail over trifles. A GIF
whose frame ends early is filled up with its background at "error"."""


@dataclass
class Source:
    """A stored source and how it is to be read.

    Parameters
    ----------
    path: of the file.
    page: from 0.
    lenient: whether a harmless remark of its decoder is overlooked.
    """

    path: Path
    page: int = 0
    lenient: bool = False

    def open(self, **options: int) -> pyvips.Image:
        """Open the page anew, to be read once from top to bottom.

        Parameters
        ----------
        options: of libvips' loader, for a smaller version of the page; `page` overrides the source's own.

        Raises
        ------
        StageError: page_not_found.
        pyvips.Error: where no reader takes the file.
        """
        if options:
            return self._load(**({"page": self.page} if self.page else {}) | options)
        image = self._load()
        require_page(header_of(image), self.page)
        return image if self.page == 0 else self._load(page=self.page)

    def header(self) -> Header:
        """Give what the header says; raises as `open`."""
        return header_of(self.open())

    def memory(self, tile_size: int) -> int:
        """Give the bytes that tiling it takes at most, by its header; raises as `open`."""
        image = self.open()
        return memory_of(image, header_of(image), tile_size)

    def overlook(self, error: Exception) -> bool:
        """Be lenient from now on, if what failed is only a harmless remark; tells whether it makes sense to try again.

        A decoder tells of its first remark alone: a worse one after a harmless one goes unnoticed.
        """
        with self.path.open("rb") as file:
            if self.lenient or not is_harmless(str(error), self._kind(), file):
                return False
        self.lenient = True
        return True

    def means_transparency(self, bands: int) -> bool:
        """Tell whether the last of `bands`, one more than the colours, is transparency: always but in some TIFFs.

        ExtraSamples 0 is data of any kind, such as infrared. Where the tag is absent, the band is transparency by
        custom, if not by TIFF 6.0. A band that the file has not got is the decoder's own, and opaque.
        """
        if self._kind() != "tiff":
            return True
        with self.path.open("rb") as file:
            try:
                directory = next(islice(tiff.directories(file), self.page, None))
                unmarked = directory.values(tiff.Tag.EXTRA_SAMPLES)[:1] == (0,)
                return not unmarked and directory.value(tiff.Tag.SAMPLES, bands) >= bands
            except (struct.error, StopIteration):
                return True

    def _kind(self) -> str:
        with self.path.open("rb") as file:
            return kinds.kind_of(file.read(kinds.HEAD))

    def _load(self, **options: int) -> pyvips.Image:
        strict, lenient = _FAIL_ON.get(self._kind(), ("error", "error"))
        fail_on = lenient if self.lenient else strict
        return pyvips.Image.new_from_file(str(self.path), access="sequential", fail_on=fail_on, **options)
