"""Layouts of an exported pyramid. They have their own module so that `--help` need not import the export itself."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """A way to lay out a pyramid as files."""

    DZI = "dzi"
    XYZ = "xyz"
    TMS = "tms"
    IIIF = "iiif"
    ZOOMIFY = "zoomify"
    PMTILES = "pmtiles"
    MBTILES = "mbtiles"
    SZI = "szi"
    BUCKET = "bucket"
    SITE = "site"


ADDRESSED = (Layout.XYZ, Layout.IIIF)
"""Layouts with a file that names the public address of the folder."""

SINGLE_FILES = (Layout.PMTILES, Layout.MBTILES, Layout.SZI)
"""Layouts of one file, which has the dataset's name."""
