"""Unpack the one image of a ZIP archive or a gzip file, in a confined child process: docs/decisions/0022.

The same child joins the tiles of a IIIF image: docs/decisions/0030.

Imports `pipeline`. Other packages import what is listed here.
"""

from tiler.unpack.parent import Source, unpacked

__all__ = ["Source", "unpacked"]
