"""Convert a CRS to WGS 84 by PROJ, in a confined child process of its own: docs/decisions/0037.

Imports `pipeline`. Other packages import what is listed here.
"""

from tiler.place.parent import locate

__all__ = ["locate"]
