"""Write the files of a pyramid from decoded pixels: tiles, index, edge tiles, thumbnail, preview.

Imports `tiler.decode`, `pipeline`, and the modules of the tiler that both sides of its child process use. It loads
libvips, so only child processes may import it, and only what is listed here.
"""

from tiler.build.edges import decode_tile
from tiler.build.preview import make_preview
from tiler.build.pyramid import WEBP_EFFORT, build

__all__ = ["WEBP_EFFORT", "build", "decode_tile", "make_preview"]
