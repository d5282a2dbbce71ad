"""Recognize raw photographs: undeveloped samples of a camera's sensor, with a small preview. Pure functions.

Most are TIFFs whose first directory is the preview, so libvips would tile an image of 256 x 171 pixels.
Sources: Adobe's DNG 1.7.1 (chapters 4 and 6), TIFF/EP (ISO 12234-2), and the makers' formats as the authors of ExifTool
and LibRaw describe them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from pipeline.errors import StageError
from pipeline.formats.tiff.directory import Directory, File, Tag
from pipeline.formats.tiff.pages import directories

KINDS = {
    "cr2": "a Canon raw photograph (CR2)",
    "cr3": "a Canon raw photograph (CR3)",
    "crw": "a Canon raw photograph (CRW)",
    "rw2": "a Panasonic raw photograph (RW2)",
    "orf": "an Olympus raw photograph (ORF)",
    "raf": "a Fujifilm raw photograph (RAF)",
    "x3f": "a Sigma raw photograph (X3F)",
    "mrw": "a Minolta raw photograph (MRW)",
    "iiq": "a Phase One raw photograph (IIQ)",
}
"""Raw formats that are recognized by their first bytes, with their names in pipeline.formats.kinds."""

COLOUR_FILTERS, LINEAR = 32803, 34892
"""Values of Tag.PHOTOMETRIC for undeveloped samples: one colour of a filter for each pixel, or all colours."""

MOST_PAGES, MOST_BELOW = 4, 8
"""Most pages, and most sub-directories of a page, to check: raw photographs have up to three, and up to five below the
first."""

_MAKERS = {
    b"NIKON": "a Nikon raw photograph (NEF)",
    b"SONY": "a Sony raw photograph (ARW)",
    b"PENTAX": "a Pentax raw photograph (PEF)",
    b"RICOH": "a Ricoh raw photograph (PEF)",
    b"SAMSUNG": "a Samsung raw photograph (SRW)",
    b"HASSELBLAD": "a Hasselblad raw photograph (3FR)",
    b"EASTMAN KODAK": "a Kodak raw photograph (DCR)",
    b"KODAK": "a Kodak raw photograph (KDC)",
    b"SEIKO EPSON": "an Epson raw photograph (ERF)",
    b"MAMIYA": "a Mamiya raw photograph (MEF)",
    b"LEAF": "a Leaf raw photograph (MOS)",
    b"CANON": "a Canon raw photograph (TIF)",
}
"""Names by the beginning of the maker's name, in capitals."""


def require_developed(kind: str, file: File) -> None:
    """Raise StageError("unsupported_format") if a file is a raw photograph. The message names the format.

    Parameters
    ----------
    kind: of the file: see pipeline.formats.kinds.
    """
    found = KINDS.get(kind, "")
    if kind == "tiff":
        with suppress(struct.error, StopIteration):
            found = _in_tiff(file)
    if found:
        raise StageError(
            "unsupported_format",
            f"The file is {found}, which is not supported: it contains undeveloped samples of the camera's sensor, and "
            "only a small preview as a picture. Develop it with a raw converter, and save it as TIFF or JPEG.",
        )


def _in_tiff(file: File) -> str:
    """Return the name of a raw photograph by its first directories, or "" if the TIFF is none.

    Only undeveloped samples count: developed pictures may keep the tags of a camera or a converter.
    """
    first = next(directories(file))
    if not any(picture.value(Tag.PHOTOMETRIC, 0) in {COLOUR_FILTERS, LINEAR} for picture in _pictures(file, first)):
        return ""
    if Tag.DNG_VERSION in first.entries:
        return "a raw photograph (DNG)"
    maker = first.raw(first.entries[Tag.MAKER]).upper() if Tag.MAKER in first.entries else b""
    return next((name for start, name in _MAKERS.items() if maker.startswith(start)), "a raw photograph")


def _pictures(file: File, first: Directory) -> Iterator[Directory]:
    yield first
    # Read on only in a camera's file: each directory costs a read, maybe of a remote file.
    if {Tag.MAKER, Tag.DNG_VERSION}.isdisjoint(first.entries):
        return
    for page in islice(directories(file), MOST_PAGES):
        yield page
        for offset in islice(page.numbers(Tag.SUB_DIRECTORIES), MOST_BELOW):
            with suppress(struct.error):
                yield Directory(file, page.order, page.big, offset)
