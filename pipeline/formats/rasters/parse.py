"""Choose the parser for a kind of file, and turn what it cannot read into errors."""

from __future__ import annotations

import struct
from collections.abc import Callable

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.rasters import bmp, pnm, tga
from pipeline.formats.rasters.layout import Raster
from pipeline.formats.tiff import File

_PARSERS: dict[str, Callable[[File], Raster]] = {"bmp": bmp.parse, "pnm": pnm.parse, "tga": tga.parse}

KINDS = frozenset(_PARSERS)
"""The kinds of file (pipeline.formats.kinds) that are read in this way."""

MOST_EDGE = (1 << 31) - 1


def parse(kind: str, file: File) -> Raster:
    """Read the header of a file.

    Raises
    ------
    StageError: unsupported_format, image_corrupt, or image_truncated if the file ends within the header.
    """
    try:
        raster = _PARSERS[kind](file)
    except struct.error as error:
        raise StageError("image_truncated", CUT_SHORT) from error
    if not (0 < raster.width <= MOST_EDGE and 0 < raster.height <= MOST_EDGE):
        raise damaged(f"its header states {raster.width:,} x {raster.height:,} pixels")
    return raster
