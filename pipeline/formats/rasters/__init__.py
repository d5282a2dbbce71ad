"""Files of plain rows of pixels: BMP, PNM, PAM and TGA. Reads their headers without a decoder.

Imports `pipeline.formats` and `pipeline.formats.tiff`. Pure functions. Others import what is listed here.
"""

from pipeline.formats.rasters.layout import Coding, Raster, require_shown, require_whole
from pipeline.formats.rasters.parse import KINDS, parse
from pipeline.formats.rasters.tga import alpha_meant

__all__ = [
    "KINDS",
    "Coding",
    "Raster",
    "alpha_meant",
    "parse",
    "require_shown",
    "require_whole",
]
