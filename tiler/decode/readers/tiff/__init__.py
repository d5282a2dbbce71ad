"""TIFF: what libvips reads wrongly is handed to it as a TIFF that it reads, and what libtiff does not check is checked.

`recoded` makes such a TIFF, of `chunks` that `frame` decodes; `checksums` and `jpeg_tiles` check what is left to
libtiff; `ycbcr` gives RGB; `overviews` finds the smaller versions of a page.
"""

from tiler.decode.readers.tiff.reader import TiffReader

__all__ = ["TiffReader"]
