"""Files of plain rows of pixels: BMP, PNM, PAM and TGA. Reads their headers without a decoder.

Imports `pipeline.formats` and `pipeline.formats.tiff`. Pure functions. Others import what is listed here.
"""

from pipeline.formats.rasters.layout import Coding, Raster, require_whole
from pipeline.formats.rasters.parse import KINDS, parse

__all__ = [
    "KINDS",
    "Coding",
    "Raster",
    "parse",
    "require_whole",
]
