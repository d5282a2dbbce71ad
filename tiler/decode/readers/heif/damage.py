"""Check that all parts of a HEIF's page are complete and valid, before libheif assembles them.

If a tile of a grid cannot be decoded, libheif leaves it black, and reports that only on request; libvips and pi-heif do
not ask. So each coded picture is decoded on its own first, and compared with the size that its item says.
"""

from __future__ import annotations

import struct
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.endings import ends_early
from tiler.decode.readers.heif import av1, hevc
from tiler.decode.readers.heif import pages as heif_pages
from tiler.decode.readers.heif.coding import Coding, coding_of
from tiler.decode.readers.heif.items import HEVC, Coded, Items, Picture
from tiler.decode.readers.heif.lost import require_nothing_lost

MOST_SURPLUS, SURPLUS_FREE = 4, 1 << 24
"""Most pixels of the coded pictures: MOST_SURPLUS for each pixel of the page, and SURPLUS_FREE more. The tiles of a
grid cover the page and may extend beyond its edges; transparency doubles their pixels."""

MOST_PADDING = 64
"""A coded picture may exceed its item's size by less than this many pixels at each edge, which are cropped: the size
of HEVC's largest block."""

hevc.load()
av1.load()
heif_pages.load()


def require_sound(path: Path, page: int, pages: int, shown: int) -> Coding:
    """Decode each coded picture of a page on its own, and return how its colours are coded.

    Parameters
    ----------
    page: 0 is the primary one.
    pages: number of pages, by the decoder of the file.
    shown: pixels of the page.

    Raises
    ------
    StageError: image_truncated, image_corrupt; unsupported_format, if parts of the page cannot be checked;
        decoder_too_slow, if the page is assembled from far more pixels than it shows.
    MemoryError: if memory runs out.
    """
    try:
        with path.open("rb") as file:
            if ends_early("heif", file, path.stat().st_size):
                raise StageError("image_truncated", CUT_SHORT)
            require_nothing_lost(file)
            items = Items(file, items_of(path, page, pages))
            codec = items.codec(page)
            found, decoded = {}, 0
            for coded in items.coded(page):
                found[coded.number] = picture = decoded_alone(coded)
                decoded += picture.width * picture.height * coded.times
                require_few(decoded, shown)
            for tiles in items.grids(page):
                if len({found[number].samples for number in tiles}) > 1:
                    raise damaged("HEIF: the tiles of a grid store their colours in different ways")
            return coding_of(items, page, codec, found)
    except (struct.error, IndexError) as error:
        raise damaged(f"HEIF: {error}") from error


def items_of(path: Path, page: int, pages: int) -> list[int]:
    """Return the item of each page; an empty list for page 0, the primary item, which needs no such list.

    Parameters
    ----------
    pages: number of pages, by the decoder of the file.

    Raises
    ------
    StageError: unsupported_format, if libheif and the decoder disagree on the number of pages.
    """
    if page == 0:
        return []
    found = heif_pages.pages_of(path)
    if len(found) != pages:
        raise StageError(
            "unsupported_format",
            "The HEIF's decoders do not agree on its pages. Save the page you want as its own file.",
        )
    return found


def decoded_alone(coded: Coded) -> Picture:
    """Decode a picture, discard its pixels and return its properties; raises as `require_sound`."""
    picture = hevc.require_sound(coded) if coded.kind == HEVC else av1.require_sound(coded)
    for size, said in ((picture.width, coded.width), (picture.height, coded.height)):
        if said and not said <= size < said + MOST_PADDING:
            raise damaged(
                f"HEIF: a coded picture has {picture.width} x {picture.height} pixels, not the "
                f"{coded.width} x {coded.height} of its item"
            )
    return picture


def require_few(decoded: int, shown: int) -> None:
    """Raise StageError("decoder_too_slow") if far more pixels are decoded than shown."""
    if decoded > MOST_SURPLUS * shown + SURPLUS_FREE:
        raise StageError(
            "decoder_too_slow",
            f"The HEIF shows {shown / 1e6:.1f} megapixels, but is assembled from {decoded / 1e6:.1f} or more. "
            "Save it again.",
        )
