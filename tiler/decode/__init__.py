"""From a source file to upright 8-bit sRGB: readers for what libvips does not read well, colours, damage.

Imports `pipeline` and the tiler's progress meter. Loads libvips: only children may import it. A reader of one more
format is described in tiler.decode.reader.
"""

from tiler.decode.colours import to_srgb
from tiler.decode.pixels import Picture, drop_metadata, open_picture, orientation_of, turned
from tiler.decode.reader import Reader
from tiler.decode.registry import reader_of

__all__ = ["Picture", "Reader", "drop_metadata", "open_picture", "orientation_of", "reader_of", "to_srgb", "turned"]
