"""What cannot be decoded of a damaged image, and how it is marked: docs/decisions/0020."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyvips

from pipeline.errors import MOST_WARNING
from pipeline.pyramids import Format
from pipeline.texts import sentence

GREY = 128
"""Level of missing parts in tiles without transparency. White is the colour of paper, and black that of night."""

STEP = 8
"""Rows that are read at once to find the first one that cannot be decoded. The rows of libjpeg's blocks."""


class Warned(NamedTuple):
    """A warning: a key of pipeline.errors.WARNING_CODES, and a sentence for people."""

    code: str
    message: str

    def short(self) -> Warned:
        """Return it with a message that statussvc accepts: not too long, and without control characters."""
        return Warned(self.code, sentence(self.message, MOST_WARNING))


class Missing(NamedTuple):
    """The parts of a page that cannot be decoded.

    Parameters
    ----------
    what: names them, such as "Rows 376 to 799 of 800"; empty if no pixels are missing, but other parts of the file.
    why: why the page cannot be decoded as a whole, as a sentence.
    mask: returns an image of one band and of the page's size before it is turned upright, 255 where pixels are missing.
    """

    what: str
    why: str
    mask: Callable[[], pyvips.Image]

    def pixels(self) -> int:
        """Count the missing pixels."""
        if not self.what:
            return 0
        mask = self.mask()
        return int(float(mask.avg()) * mask.width * mask.height / 255 + 0.5)

    def warning(self, tile_format: Format) -> Warned:
        """Return the warning that says what is missing in tiles of this format."""
        how = "grey" if tile_format is Format.JPEG else "transparent"
        return Warned("image_incomplete", f"{self.why} {self.what} could not be decoded. What is missing is {how}.")


def no_pixels_missing(why: str) -> Missing:
    """Return that no pixels are missing."""
    return Missing("", why, lambda: pyvips.Image.black(1, 1))


def rows_missing(good: range, width: int, height: int, why: str) -> Missing:
    """Return that all but some rows are missing."""
    if len(good) == height:
        return no_pixels_missing(why)

    def mask() -> pyvips.Image:
        black = pyvips.Image.black(width, len(good))
        return black.embed(0, good.start, width, height, extend="white")

    lost = [f"{first:,} to {last - 1:,}" for first, last in ((0, good.start), (good.stop, height)) if first < last]
    return Missing(f"Rows {' and '.join(lost)} of {height:,}", why, mask)


def only_rows(image: pyvips.Image, good: range) -> pyvips.Image:
    """Return an image of which only some rows are read; the others are black."""
    return image.crop(0, good.start, image.width, len(good)).embed(0, good.start, image.width, image.height)


def sound_rows(image: pyvips.Image) -> tuple[int, Exception | None]:
    """Decode an image from its top until the decoder fails.

    Returns
    -------
    The rows before that, and the error; None if there is none.
    """
    region = pyvips.Region.new(image)
    # Read here: reading an attribute empties the buffer of errors, in which the last call may leave warnings.
    width, height = image.width, image.height
    for top in range(0, height, STEP):
        try:
            region.fetch(0, top, width, min(STEP, height - top))
        except pyvips.Error as error:
            return top, error
    return height, None


def marked(image: pyvips.Image, missing: Missing, tile_format: Format | None, decisions: list[str]) -> pyvips.Image:
    """Return an sRGB image that is transparent, or grey without transparency, where pixels are missing.

    Parameters
    ----------
    tile_format: of the tiles; None if an image with transparency gets other tiles than one without.
    decisions: receives a line of text for a conversion.
    """
    mask = missing.mask()
    shown = mask.ifthenelse(GREY, image.extract_band(0, n=3))
    if tile_format is Format.JPEG or (tile_format is None and not image.hasalpha()):
        if image.hasalpha():
            decisions.append(ON_WHITE)
            shown = mask.ifthenelse(GREY, image.flatten(background=255))
        return shown.copy(interpretation="srgb")
    alpha = image.extract_band(3) if image.hasalpha() else 255
    return shown.bandjoin(mask.ifthenelse(0, alpha)).copy(interpretation="srgb")


ON_WHITE = "transparency laid on white: JPEG tiles have none"
