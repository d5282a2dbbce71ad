"""Make the parts of a GIF's canvas transparent that no frame covers.

libvips paints them black if the GIF has no other transparency.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import BinaryIO

import pyvips

from pipeline.formats.frames import Frame, of_gif


def with_uncovered_transparent(image: pyvips.Image, file: BinaryIO, page: int) -> pyvips.Image:
    """Add alpha to a page of a GIF if no frame up to that page covers the whole canvas.

    Parameters
    ----------
    image: the page as libvips opens it. Returned as it is if it needs no alpha.
    page: from 0.
    """
    if image.hasalpha():
        return image
    found = list(dict.fromkeys(islice(of_gif(file), page + 1)))
    if not found or any(_covers(frame, image) for frame in found):
        return image
    colours = 1 if image.bands < 3 else 3
    covered = _covered(found, image.width, image.height)
    alpha = pyvips.Image.new_from_memory(covered, image.width, image.height, 1, "uchar")
    return image.extract_band(0, n=colours).bandjoin(alpha)


def _covered(found: Iterable[Frame], width: int, height: int) -> bytearray:
    """Return a canvas of one byte a pixel, 255 where a frame lies. libvips would copy the canvas for each frame."""
    canvas = bytearray(width * height)
    for frame in found:
        left, right = min(width, frame.left), min(width, frame.left + frame.width)
        row = b"\xff" * (right - left)
        for y in range(frame.top, min(height, frame.top + frame.height)):
            canvas[y * width + left : y * width + right] = row
    return canvas


def _covers(frame: Frame, image: pyvips.Image) -> bool:
    return frame.left == frame.top == 0 and frame.width >= image.width and frame.height >= image.height
