"""Read files of plain rows of pixels: BMP, PNM, PAM and TGA."""

from tiler.decode.readers.raster.reader import RasterReader

__all__ = ["RasterReader"]
