"""Decide whether a smaller version of a page is cheap and shows the whole page. Pure functions."""

from __future__ import annotations

from pipeline.formats.header import Header

SHARE = 16
"""A stored smaller version is cheap if it has at most a 16th of the page's pixels."""


def shows_all(width: int, height: int, header: Header) -> bool:
    """Return whether a smaller version has the page's proportions, apart from the rounding of its sides."""
    difference = abs(width * header.height - height * header.width)
    return 0 < width <= header.width and difference <= max(header.width, header.height)


def is_cheap(width: int, height: int, header: Header) -> bool:
    """Return whether a stored smaller version has few enough pixels."""
    return width * height * SHARE <= header.pixels
