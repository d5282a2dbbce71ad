"""Correct colours that libheif returns as they are stored: grey of limited range, and premultiplied colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyvips

from tiler.decode.colour_spaces import HLG, PQ, ColourSpace, by_cicp
from tiler.decode.limited import spread
from tiler.decode.readers.heif.items import GREY, HEVC, Items, Picture, Signal

_UNSPECIFIED = 2
_UNSTATED = Signal(_UNSPECIFIED, _UNSPECIFIED, is_full_range=True)

_WIDE, _HDR = {9, 11, 12}, {PQ, HLG}
"""Code points that count in coded pictures whose item has no property of its own, since no encoder writes them by
mistake. Cameras write code points of old video but mean sRGB, which is the default of an item without the property
(ISO/IEC 23000-22, 7.3.6.4)."""


class Coding(NamedTuple):
    """How the colours of a page are coded.

    Parameters
    ----------
    codec: tiler.decode.readers.heif.items.HEVC or AV1.
    is_limited_grey: whether the page is grey, and its samples have a limited range.
    is_premultiplied: whether the colours are multiplied by the transparency.
    space: the colour space that the file names by code points; None if it names none.
    """

    codec: bytes
    is_limited_grey: bool
    is_premultiplied: bool
    space: ColourSpace | None


def coding_of(items: Items, page: int, codec: bytes, decoded: Mapping[int, Picture]) -> Coding:
    """Return how the colours of a page are coded.

    Parameters
    ----------
    decoded: the coded pictures of the page by their items.
    """
    pictures = [decoded[number] for number in items.colours(page)]
    is_grey = all(picture.samples[0] == GREY for picture in pictures)
    coded, stated = pictures[0].signal, items.signal(page)
    if codec == HEVC:
        # libheif's encoder writes grey of full range, even if it writes a property that says limited.
        is_limited = not coded.is_full_range and not (stated and stated.is_full_range)
    else:
        is_limited = not (stated or coded).is_full_range
    return Coding(codec, is_grey and is_limited, items.is_premultiplied(page), space_of(items, page, coded))


def space_of(items: Items, page: int, coded: Signal = _UNSTATED) -> ColourSpace | None:
    """Return the colour space in the properties of a page, else that in its coded pictures, else None.

    Parameters
    ----------
    coded: the coding of colours in the coded pictures.
    """
    primaries, transfer, _ = items.signal(page) or _UNSTATED
    if primaries == _UNSPECIFIED and coded.primaries in _WIDE:
        primaries = coded.primaries
    if transfer == _UNSPECIFIED and coded.transfer in _HDR:
        transfer = coded.transfer
    return None if primaries == transfer == _UNSPECIFIED else by_cicp(primaries, transfer)


def is_plain(items: Items, page: int) -> bool:
    """Return whether the properties of an AVIF's page show that `corrected` would not change it."""
    stated = items.signal(page)
    is_colour_or_full = not items.is_grey_av1(page) or (stated is not None and stated.is_full_range)
    return is_colour_or_full and not items.is_premultiplied(page)


def corrected(image: pyvips.Image, coding: Coding) -> pyvips.Image:
    """Return a decoded page with grey stretched to full range, and colours not multiplied by transparency."""
    if coding.is_limited_grey:
        image = spread(image)
    if coding.is_premultiplied and image.hasalpha():
        white = 255 if image.format == "uchar" else 65535
        image = image.unpremultiply(max_alpha=white).rint().cast(image.format)
    return image
