"""Find the rows of a damaged JPEG that come before the damage."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyvips

from pipeline.formats.decoder_errors import said_by
from tiler.decode.decoder_messages import heard
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.missing import sound_rows
from tiler.decode.prefix import Prefix
from tiler.decode.readers.jpeg.scans import ends_after_scan, ends_of_scans
from tiler.decode.readers.jpeg.segments import restarts

CUT = "premature end of JPEG image"
"""libvips' message if the file ends. Each row before it is sound: nothing was decoded that is not in the file."""

MARGIN = 96
"""Rows before a fault that are distrusted. libjpeg decodes damaged bytes until they make no sense: up to 17 rows in
nearly all of 120 damaged files."""

RAN_OUT = "premature end of data segment"
"""libjpeg's message if a marker comes before the data of the last block. The damage may lie anywhere before it."""


END = b"\xff\xd9"


def sound_rows_of(image: pyvips.Image, file: BinaryIO) -> int:
    """Return the number of rows, from the top, that were surely decoded before a baseline JPEG's first fault.

    Parameters
    ----------
    image: opened so that any warning of libjpeg is an error.
    file: the same JPEG.
    """
    with heard() as words:
        rows, error = sound_rows(image)
    # libvips reports libjpeg's warnings about the last rows only in its error buffer.
    said = "\n".join(words.errors) if error is None else said_by(error)
    if not said or CUT in said:
        return rows
    interval = restarts(file, image.width)
    if interval is not None:
        # The fault may be noticed only at the marker that ends the interval.
        return max(0, rows // interval - 2) * interval
    # Data that ends at the end of the image may lack a piece anywhere. At another marker, damage has made that marker.
    is_anywhere = RAN_OUT in said and ends_after_scan(file)
    return 0 if is_anywhere else max(0, rows - MARGIN)


def rows_before_last_interval(file: BinaryIO, width: int, height: int) -> int:
    """Return the number of rows that are sound if data is left behind the last block of a baseline JPEG.

    Without restart markers the damage may lie anywhere. With them, only in the last interval: libjpeg would have warned
    at the marker that ends another.
    """
    interval = restarts(file, width)
    return 0 if interval is None else max(0, height // interval - 2) * interval


def sound_scans(path: Path) -> Prefix | None:
    """Return a progressive JPEG up to the last scan before its first fault; None if there is no image then."""
    with path.open("rb") as file:
        ends = ends_of_scans(file)
    sound: Prefix | None = None
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        prefix = Prefix(path, ends[middle], END)
        if _is_sound(prefix):
            sound, low = prefix, middle + 1
        else:
            high = middle
    return sound


def _is_sound(prefix: Prefix) -> bool:
    try:
        prefix.open(access="sequential", fail_on="warning").avg()
    except ERRORS:
        return False
    return True
