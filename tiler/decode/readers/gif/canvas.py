"""Make the parts of a GIF's canvas transparent that no frame covers, as browsers do.

libvips paints them black if the GIF has no other transparency. It also fills the area of a frame that is to be cleared
with a colour if that frame has no transparent pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from mmap import ACCESS_COPY, mmap
from typing import BinaryIO, NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats.frames import HAS_TRANSPARENCY, Disposal, Frame, of_gif

_COVERED, _CLEAR = b"\xff", b"\0"

_Place = tuple[int, int, int, int]


class Canvas(NamedTuple):
    """What the frames up to a page do to the canvas.

    Parameters
    ----------
    places: the last thing that happens to each place, in order: whether it is covered (true) or cleared.
    is_covered: whether all other places are covered.
    uncleared: offsets of the control bytes of frames whose area libvips would fill with a colour.
    """

    places: dict[_Place, bool]
    is_covered: bool
    uncleared: Sequence[int]

    @property
    def is_opaque(self) -> bool:
        """Whether the whole canvas is certainly covered: frames that overlap are not examined."""
        return self.is_covered and all(self.places.values())


def canvas_of(file: BinaryIO, page: int, width: int, height: int) -> Canvas:
    """Return what the frames of an open GIF do to its canvas.

    Parameters
    ----------
    page: from 0: the last frame that counts.
    width, height: of the canvas.

    Raises
    ------
    StageError: unsupported_format, if libnsgif would mix up the rows of an interlaced frame: it interlaces only the
        rows that lie on the canvas.
    """
    places: dict[_Place, bool] = {}
    is_covered, uncleared = False, []
    for number, frame in enumerate(islice(of_gif(file), page + 1)):
        disposal = frame.disposal if number < page else 0
        if disposal in {Disposal.RESTORE, Disposal.RESTORE_TOO}:
            continue
        if frame.is_interlaced and frame.top < height < frame.top + frame.height:
            raise StageError(
                "unsupported_format",
                f"Frame {number} of the GIF is interlaced and reaches below the canvas. Save the GIF again.",
            )
        is_kept = disposal != Disposal.CLEAR
        if not is_kept and not frame.has_transparency:
            uncleared.append(frame.control)
        if _fills(frame, width, height):
            places.clear()
            is_covered = is_kept
        else:
            # Earlier frames at the same place do not matter any more.
            places.pop(frame[:4], None)
            places[frame[:4]] = is_kept
    return Canvas(places, is_covered, uncleared)


def with_uncovered_transparent(image: pyvips.Image, canvas: Canvas) -> pyvips.Image:
    """Add alpha to a page of a GIF without transparency if a part of its canvas is not covered.

    Parameters
    ----------
    image: the page as libvips opens it. Returned as it is if it needs no alpha.
    """
    if image.hasalpha() or canvas.is_opaque:
        return image
    covered = _covered(canvas, image.width, image.height)
    if _CLEAR not in covered:
        return image
    colours = 1 if image.bands < 3 else 3
    alpha = pyvips.Image.new_from_memory(covered, image.width, image.height, 1, "uchar")
    return image.extract_band(0, n=colours).bandjoin(alpha)


def with_transparent_frames(file: BinaryIO, controls: Iterable[int]) -> pyvips.Source:
    """Return a source of the same GIF, in which the frames with these control bytes have a transparent colour.

    libnsgif clears the area of such a frame. The frame's pixels are cleared before the page is shown, so it does not
    matter that some of them become transparent.
    """
    data = mmap(file.fileno(), 0, access=ACCESS_COPY)
    for control in controls:
        data[control] |= HAS_TRANSPARENCY
    return pyvips.Source.new_from_memory(data)


def _covered(canvas: Canvas, width: int, height: int) -> bytearray:
    """Return a canvas of one byte a pixel, 255 where it is covered. libvips would copy the canvas for each frame."""
    found = bytearray(_COVERED if canvas.is_covered else _CLEAR) * (width * height)
    for (left, top, across, down), is_covered in canvas.places.items():
        start, end = min(width, left), min(width, left + across)
        row = (_COVERED if is_covered else _CLEAR) * (end - start)
        for y in range(top, min(height, top + down)):
            found[y * width + start : y * width + end] = row
    return found


def _fills(frame: Frame, width: int, height: int) -> bool:
    return frame.left == frame.top == 0 and frame.width >= width and frame.height >= height
