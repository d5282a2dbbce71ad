"""Where a GIF's frames lie on its canvas: libvips paints black what none of them covers, where it has no other
transparency.

Source of the layout: the GIF 89a specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, NamedTuple

import pyvips

_FRAME, _EXTENSION = b"\x2c", b"\x21"
_HAS_TABLE = 0x80


class Frame(NamedTuple):
    """A frame's place on the canvas, in pixels."""

    left: int
    top: int
    width: int
    height: int


def frames(file: BinaryIO) -> Iterator[Frame]:
    """Give the frames of a GIF in their order, as far as the file can be read."""
    with suppress(struct.error):
        file.seek(10)
        _skip_table(file, *struct.unpack("<B2x", file.read(3)))
        while (block := file.read(1)) in {_FRAME, _EXTENSION}:
            if block == _FRAME:
                *place, flags = struct.unpack("<HHHHB", file.read(9))
                yield Frame(*place)
                _skip_table(file, flags)
            file.seek(1, 1)  # an extension's label, or the code size of a frame
            while length := file.read(1):
                if length == b"\0":
                    break
                file.seek(length[0], 1)


def with_uncovered_transparent(image: pyvips.Image, file: BinaryIO, page: int) -> pyvips.Image:
    """Give a page of a GIF with alpha where no frame up to it covers the canvas; else as it is.

    Parameters
    ----------
    image: as libvips opens it.
    page: from 0.
    """
    if image.hasalpha():
        return image
    found = list(dict.fromkeys(islice(frames(file), page + 1)))
    if not found or any(_covers(frame, image) for frame in found):
        return image
    colours = 1 if image.bands < 3 else 3
    alpha = pyvips.Image.black(image.width, image.height)
    for frame in found:
        alpha = alpha.draw_rect([255], *frame, fill=True)
    return image.extract_band(0, n=colours).bandjoin(alpha)


def _covers(frame: Frame, image: pyvips.Image) -> bool:
    return frame.left == frame.top == 0 and frame.width >= image.width and frame.height >= image.height


def _skip_table(file: BinaryIO, flags: int) -> None:
    if flags & _HAS_TABLE:
        file.seek(3 << ((flags & 7) + 1), 1)
