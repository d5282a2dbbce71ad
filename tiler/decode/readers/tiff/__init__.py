"""Read TIFF: rewrite pages that libvips reads wrongly, and check what libtiff does not check.

`recoded` presents such a page to libvips as a TIFF that libvips can read, with pixels from `chunks` and `frame`.
`checksums` and `jpeg_tiles` check pages that libtiff decodes. `ycbcr` converts colours to RGB. `overviews` finds
smaller versions of a page. `stack_reader` finds the channels of a stack, and `single_plane` opens one plane of a page.
"""

from tiler.decode.readers.tiff.stack_reader import StackReader

__all__ = ["StackReader"]
