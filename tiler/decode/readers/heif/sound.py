"""Whether all that a HEIF's page is made of is there and sound, found out before libheif puts it together.

libheif leaves out a grid's tile that it fails at, shows black there, and tells only who asks; libvips and pi-heif do
not. So each coded picture is decoded by itself first, and held to what its item says of it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.endings import ends_early
from tiler.decode.readers.heif import av1, hevc
from tiler.decode.readers.heif import pages as heif_pages
from tiler.decode.readers.heif.items import HEVC, Coded, Items, Picture

MOST_SURPLUS, SURPLUS_FREE = 4, 1 << 24
"""Pixels of the coded pictures for each pixel that is shown, and besides. A grid covers what it shows, its tiles filled
up at its edges, and transparency doubles that."""

MOST_PADDING = 64
"""Pixels to an edge, less one, that a coded picture may have beyond its size, and that are cropped: a block of HEVC."""

hevc.load()
av1.load()
heif_pages.load()


def require_sound(path: Path, page: int, pages: int, shown: int) -> bytes:
    """Decode each coded picture of a page by itself; gives its codec, tiler.decode.readers.heif.items.HEVC or AV1.

    Parameters
    ----------
    page: 0 is the primary one.
    pages: of the file, by what decodes it.
    shown: pixels of the page.

    Raises
    ------
    StageError: image_truncated, image_corrupt; unsupported_format, where it is made of what nobody can judge;
        decoder_too_slow, where it is put together from far more than it shows.
    MemoryError: as it says.
    """
    try:
        with path.open("rb") as file:
            if ends_early("heif", file, path.stat().st_size):
                raise StageError("image_truncated", CUT_SHORT)
            items = Items(file, items_of(path, page, pages))
            codec = items.codec(page)
            found, decoded = {}, 0
            for coded in items.coded(page):
                found[coded.number] = picture = _decoded(coded)
                decoded += picture.width * picture.height * coded.times
                _require_few(decoded, shown)
            for tiles in items.grids(page):
                if len({found[number].samples for number in tiles}) > 1:
                    raise damaged("HEIF: the tiles of a grid keep their colours in different ways")
            return codec
    except (struct.error, IndexError) as error:
        raise damaged(f"HEIF: {error}") from error


def items_of(path: Path, page: int, pages: int) -> list[int]:
    """Give the item of each page.

    Parameters
    ----------
    pages: of the file, by what decodes it.

    Raises
    ------
    StageError: unsupported_format, where a page but the first is asked for, and cannot be told.
    """
    if page == 0:
        return []
    found = heif_pages.pages_of(path)
    if len(found) != pages:
        raise StageError(
            "unsupported_format",
            "The HEIF lists its pages in a way that its decoders do not agree on. Save the one that is wanted.",
        )
    return found


def _decoded(coded: Coded) -> Picture:
    picture = hevc.require_sound(coded) if coded.kind == HEVC else av1.require_sound(coded)
    for size, said in ((picture.width, coded.width), (picture.height, coded.height)):
        if said and not said <= size < said + MOST_PADDING:
            raise damaged(
                f"HEIF: a coded picture has {picture.width} x {picture.height} pixels, and not its "
                f"{coded.width} x {coded.height}"
            )
    return picture


def _require_few(decoded: int, shown: int) -> None:
    if decoded > MOST_SURPLUS * shown + SURPLUS_FREE:
        raise StageError(
            "decoder_too_slow",
            f"The HEIF shows {shown / 1e6:.1f} megapixels, and is put together from {decoded / 1e6:.1f} and more. "
            "Save it again.",
        )
