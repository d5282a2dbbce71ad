"""What a TIFF's directories say, read without a decoder: entries, layout, codecs, colours, raw photographs.

Imports `pipeline.errors` and the limits of `pipeline.formats`. Pure functions on an open file.
"""

from pipeline.formats.tiff.directory import NATIVE, PLACES, Directory, Entry, File, Tag
from pipeline.formats.tiff.main_page import Main, full_pages, is_named, labels_in_ome, main_page
from pipeline.formats.tiff.pages import (
    MASK,
    REDUCED,
    Place,
    directories,
    find,
    kind_of,
    mask_of,
    page_at,
    pages,
    places,
    surplus_of,
)

__all__ = [
    "MASK",
    "NATIVE",
    "PLACES",
    "REDUCED",
    "Directory",
    "Entry",
    "File",
    "Main",
    "Place",
    "Tag",
    "directories",
    "find",
    "full_pages",
    "is_named",
    "kind_of",
    "labels_in_ome",
    "main_page",
    "mask_of",
    "page_at",
    "pages",
    "places",
    "surplus_of",
]
