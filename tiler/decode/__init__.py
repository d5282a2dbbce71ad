"""Decode a source into an upright, 8-bit sRGB image.

This package has a reader for each format that libvips does not read well on its own, converts colours and finds damage.
It imports `pipeline` and the tiler's progress meter. It loads libvips, so only child processes may import it.
To add a format, see tiler.decode.reader.
"""

from tiler.decode.colours import to_srgb
from tiler.decode.composition import Opened, compose
from tiler.decode.layers import Layer, readers_of
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.pixels import Picture, drop_metadata, open_picture, orientation_of, turned, with_hidden
from tiler.decode.reader import Reader
from tiler.decode.registry import reader_of
from tiler.decode.sampling import Sample, part_of

__all__ = [
    "ERRORS",
    "Layer",
    "Opened",
    "Picture",
    "Reader",
    "Sample",
    "compose",
    "drop_metadata",
    "open_picture",
    "orientation_of",
    "part_of",
    "reader_of",
    "readers_of",
    "to_srgb",
    "turned",
    "with_hidden",
]
