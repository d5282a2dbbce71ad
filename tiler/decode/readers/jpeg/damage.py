"""Find the rows of a damaged JPEG that come before the damage."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import pyvips

from pipeline.formats.decoder_errors import said_by
from tiler.decode.missing import sound_rows
from tiler.decode.readers.jpeg.scans import ends_after_scan
from tiler.decode.readers.jpeg.segments import restarts

CUT = "premature end of JPEG image"
"""libvips' message if the file ends. Each row before it is sound: nothing was decoded that is not in the file."""

MARGIN = 96
"""Rows before a fault that are distrusted. libjpeg decodes damaged bytes until they make no sense: up to 17 rows in
nearly all of 120 damaged files."""

RAN_OUT = "premature end of data segment"
"""libjpeg's message if a marker comes before the data of the last block. The damage may lie anywhere before it."""


def sound_rows_of(opened: Callable[..., pyvips.Image], file: BinaryIO) -> int:
    """Return the number of rows, from the top, that were surely decoded before a baseline JPEG's first fault.

    Parameters
    ----------
    opened: opens the JPEG so that any warning of libjpeg is an error.
    file: the same JPEG.
    """
    image = opened()
    rows, error = sound_rows(image)
    if error is None:
        return rows
    said = said_by(error)
    if CUT in said:
        return rows
    interval = restarts(file, image.width)
    if interval is not None:
        # The fault may be noticed only at the marker that ends the interval.
        return max(0, rows // interval - 2) * interval
    # Data that ends at the end of the image may lack a piece anywhere. At another marker, damage has made that marker.
    is_anywhere = RAN_OUT in said and ends_after_scan(file)
    return 0 if is_anywhere else max(0, rows - MARGIN)
