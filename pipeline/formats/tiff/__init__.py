"""What a TIFF's directories say, read without a decoder: entries, layout, codecs, colours, raw photographs.

Imports `pipeline.errors` and the limits of `pipeline.formats`. Pure functions on an open file.
"""

from pipeline.formats.tiff.directory import NATIVE, PLACES, Directory, Entry, File, Tag
from pipeline.formats.tiff.pages import (
    MASK,
    REDUCED,
    directories,
    find,
    kind_of,
    mask_of,
    masks_in,
    page_at,
    pages,
    places,
)

__all__ = [
    "MASK",
    "NATIVE",
    "PLACES",
    "REDUCED",
    "Directory",
    "Entry",
    "File",
    "Tag",
    "directories",
    "find",
    "kind_of",
    "mask_of",
    "masks_in",
    "page_at",
    "pages",
    "places",
]
