"""Convert a TIFF's YCbCr to RGB while streaming."""

from __future__ import annotations

import pyvips

from pipeline.formats.tiff.colours import Ycbcr


def to_rgb(image: pyvips.Image, coded: Ycbcr) -> pyvips.Image:
    """Convert an image of three 8-bit samples to RGB, rounded and limited to 0 to 255."""
    mixed = image.recomb(pyvips.Image.new_from_array([list(row) for row in coded.rows])) + list(coded.offsets)
    return mixed.rint().cast("uchar").copy(interpretation="srgb")
