"""A small picture of the whole before the tiling begins, where the source gives one cheaply.

| source | by | cost |
|---|---|---|
| baseline JPEG | decoding at an eighth of its size, or a quarter or half | a quarter of the tiling |
| pyramid TIFF | its least overview that is large enough | next to nothing |
| any JPEG otherwise, AVIF | the thumbnail it carries | next to nothing |

At an eighth, libjpeg takes no more than each block's mean; three fifths of what is left is entropy decoding, which no
shrink saves (docs/formats.md has the measurement).

A progressive JPEG, an interlaced PNG, a WebP (38 % measured), a HEIC or a plain TIFF would cost too much: no preview.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.header import Header
from pipeline.pyramids import DEFAULT_QUALITY, PREVIEW, PREVIEW_EDGE, PREVIEW_THUMBNAIL, THUMBNAIL_EDGE
from tiler.decode.colours import to_srgb
from tiler.decode.pixels import drop_metadata, orientation_of, turned
from tiler.decode.source import Source
from tiler.follow import follow
from tiler.meter import Meter

LEAST_PIXELS = 8_000_000
"""Pixels of a picture for which a preview is made: a smaller one is tiled within the half second between two beats."""

SHARE = 0.2
"""Of the whole: the decoding of a baseline JPEG at an eighth of its size."""

OVERVIEW_SHARE = 16
"""Times fewer pixels than the picture that an overview has at least; a larger one is no cheap preview."""

MOST_OVERVIEWS = 32
"""Directories looked at for one: a picture of 2^31 pixels to an edge has 24 overviews, each half of the one before."""

_SHRINKS = (8, 4, 2)
"""Divisors that libjpeg offers."""


def make_preview(source: Source, header: Header, folder: Path, meter: Meter) -> tuple[int, int] | None:
    """Write PREVIEW and PREVIEW_THUMBNAIL into the folder where the source gives it cheaply.

    Never fails for the source's sake: what is wrong with it is for the tiling to say.

    Returns
    -------
    Width and height of the preview in pixels, upright; None where no preview was made.
    """
    if header.width * header.height < LEAST_PIXELS:
        return None
    source = replace(source)
    with suppress(pyvips.Error, UnicodeDecodeError, StageError, struct.error):
        try:
            return _make(source, header, folder, meter)
        except pyvips.Error as error:
            if source.overlook(error):
                return _make(source, header, folder, meter)
    return None


def _make(source: Source, header: Header, folder: Path, meter: Meter) -> tuple[int, int] | None:
    for find in _WAYS.get(header.format, ()):
        if (found := find(source, header)) is not None:
            return _write(found, source, folder, meter)
    return None


def _write(found: pyvips.Image, source: Source, folder: Path, meter: Meter) -> tuple[int, int]:
    orientation = orientation_of(found)
    meter.begin(SHARE)
    follow(found, meter)
    scale = min(1.0, PREVIEW_EDGE / max(found.width, found.height))
    # Among measurements a sample may be none at all, which a mean would spread.
    kernel = "nearest" if found.format in {"float", "double"} else "lanczos3"
    # In memory: it is turned, and read twice where its samples' range is to be found.
    scaled = found.resize(scale, kernel=kernel)
    with source.heeded():
        small = scaled.copy_memory()
    image = drop_metadata(to_srgb(small, source, [], Meter(lambda *_: None), again=lambda: small))
    image = turned(image, orientation)
    if image.hasalpha():
        image = image.flatten(background=255)
    # In memory once more: both files are made of it.
    image = image.copy_memory()
    thumbnail = image.thumbnail_image(THUMBNAIL_EDGE, height=THUMBNAIL_EDGE, size="down")
    for picture, name in ((thumbnail, PREVIEW_THUMBNAIL), (image, PREVIEW)):
        picture.jpegsave(str(folder / name), Q=DEFAULT_QUALITY, keep="none")
    return image.width, image.height


def _shrunk_jpeg(source: Source, header: Header) -> pyvips.Image | None:
    image = source.open()
    if image.get_typeof("jpeg-multiscan") and image.get("jpeg-multiscan"):
        return None
    longest = max(header.width, header.height)
    shrink = next((shrink for shrink in _SHRINKS if longest >= shrink * PREVIEW_EDGE), 1)
    return source.open(shrink=shrink)


def _thumbnail_in_jpeg(source: Source, header: Header) -> pyvips.Image | None:
    image = source.open()
    if not image.get_typeof("jpeg-thumbnail-data"):
        return None
    small = pyvips.Image.jpegload_buffer(image.get("jpeg-thumbnail-data"), fail_on="error")
    if (
        not _shows_all(small.width, small.height, header)
        or small.width * small.height > header.pixels // OVERVIEW_SHARE
    ):
        return None
    small = small.copy()
    small.set_type(pyvips.GValue.gint_type, "orientation", orientation_of(image))
    return small


def _thumbnail_in_heif(source: Source, header: Header) -> pyvips.Image | None:
    small = source.open(thumbnail=True)
    fitting = small.width < header.width and _shows_all(small.width, small.height, header)
    return small if fitting else None


def _overview_in_tiff(source: Source, header: Header) -> pyvips.Image | None:
    fitting = [found for found in _overviews(source) if _shows_all(found.width, found.height, header)]
    large = [found for found in fitting if max(found.width, found.height) >= PREVIEW_EDGE]
    if not fitting:
        return None
    chosen = min(large, key=_pixels) if large else max(fitting, key=_pixels)
    if _pixels(chosen) * OVERVIEW_SHARE > header.width * header.height:
        return None
    return source.open(**chosen.option)


class _Overview(NamedTuple):
    width: int
    height: int
    option: dict[str, int]
    """What libvips opens it by."""


def _pixels(overview: _Overview) -> int:
    return overview.width * overview.height


def _overviews(source: Source) -> Iterator[_Overview]:
    """Give the smaller pictures of a TIFF: later pages marked as reduced, and those below the page's directory."""
    with source.path.open("rb") as file:
        pages = islice(tiff.directories(file, source.page), 1 + MOST_OVERVIEWS)
        if (page := next(pages, None)) is None:
            return
        for index, offset in enumerate(page.values(tiff.Tag.SUB_DIRECTORIES)[:MOST_OVERVIEWS]):
            yield _Overview(*_size(tiff.Directory(file, page.order, page.big, offset)), {"subifd": index})
        for number, page in enumerate(pages, source.page + 1):
            if page.value(tiff.Tag.KIND, 0) & tiff.REDUCED:
                yield _Overview(*_size(page), {"page": number})


def _size(directory: tiff.Directory) -> tuple[int, int]:
    return directory.value(tiff.Tag.WIDTH, 0), directory.value(tiff.Tag.HEIGHT, 0)


def _shows_all(width: int, height: int, header: Header) -> bool:
    """Tell whether a smaller picture has the proportions of the whole, to the rounding of its sides."""
    return 0 < width <= header.width and abs(width * header.height - height * header.width) <= max(
        header.width, header.height
    )


_WAYS: dict[str, tuple[Callable[[Source, Header], pyvips.Image | None], ...]] = {
    "jpeg": (_shrunk_jpeg, _thumbnail_in_jpeg),
    "tiff": (_overview_in_tiff,),
    "heif": (_thumbnail_in_heif,),
    "avif": (_thumbnail_in_heif,),
}
"""By a header's format: the first that gives a picture is taken."""
