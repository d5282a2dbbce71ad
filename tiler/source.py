"""A stored source as it is opened, as often as it takes: which page, how strictly, by which reader."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyvips

from pipeline import kinds, tiff
from pipeline.header import Header, header_of, require_page

HARMLESS = re.compile(
    "Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code|unknown JFIF revision number"
    "|bad ICC marker|extraneous bytes before marker 0x(?!d[0-9a])"
)
"""Remarks of libjpeg (jerror.h) that files of several cameras and programs give rise to. They concern what surrounds
the coded pixels; bytes left over before a restart, a scan or the end are of the pixels."""


@dataclass
class Source:
    """A stored source and how it is to be read.

    Parameters
    ----------
    path: of the file.
    page: from 0.
    strict: whether a JPEG's decoder must have nothing to remark on at all; see tiler.failures.
    """

    path: Path
    page: int = 0
    strict: bool = True

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

    def may_be_lenient(self, error: pyvips.Error) -> bool:
        """Tell whether what failed is only a strict JPEG decoder's remark on what leaves pixels as they are.

        The decoder tells of its first remark alone, so that a worse one after such a one goes unnoticed.
        """
        return self.strict and self._kind() == "jpeg" and HARMLESS.search(str(error)) is not None

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
        # Other loaders than JPEG's do not heed "warning", or fail over trifles.
        fail_on = "warning" if self.strict and self._kind() == "jpeg" else "error"
        return pyvips.Image.new_from_file(str(self.path), access="sequential", fail_on=fail_on, **options)
