"""From YCbCr as a TIFF stores it to RGB, streaming."""

from __future__ import annotations

import pyvips

from pipeline.formats.tiff_colours import Ycbcr


def to_rgb(image: pyvips.Image, coded: Ycbcr) -> pyvips.Image:
    """Give an image of three 8-bit samples as RGB, rounded; what lies beyond 0 to 255 becomes these."""
    mixed = image.recomb(pyvips.Image.new_from_array([list(row) for row in coded.rows])) + list(coded.offsets)
    return mixed.rint().cast("uchar").copy(interpretation="srgb")
