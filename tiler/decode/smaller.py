"""When a smaller version of a page is cheap, and shows all of it. Pure."""

from __future__ import annotations

from pipeline.formats.header import Header

SHARE = 16
"""Times fewer pixels than the page that a stored smaller version has at least; a larger one is not cheap."""


def shows_all(width: int, height: int, header: Header) -> bool:
    """Tell whether a smaller version has the proportions of the page, to the rounding of its sides."""
    difference = abs(width * header.height - height * header.width)
    return 0 < width <= header.width and difference <= max(header.width, header.height)


def is_cheap(width: int, height: int, header: Header) -> bool:
    """Tell whether a stored smaller version has few enough pixels."""
    return width * height * SHARE <= header.pixels
