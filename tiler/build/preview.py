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
from contextlib import suppress
from pathlib import Path

import pyvips

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.pyramids import DEFAULT_QUALITY, PREVIEW, PREVIEW_EDGE, PREVIEW_THUMBNAIL, THUMBNAIL_EDGE
from tiler.decode import Reader, drop_metadata, orientation_of, reader_of, to_srgb, turned
from tiler.follow import follow
from tiler.meter import Meter

LEAST_PIXELS = 8_000_000
"""Pixels of a picture for which a preview is made: a smaller one is tiled within the half second between two beats."""

SHARE = 0.2
"""Of the whole: the decoding of a baseline JPEG at an eighth of its size."""


def make_preview(reader: Reader, header: Header, folder: Path, meter: Meter) -> tuple[int, int] | None:
    """Write PREVIEW and PREVIEW_THUMBNAIL into the folder where the source gives it cheaply.

    Never fails for the source's sake: what is wrong with it is for the tiling to say.

    Returns
    -------
    Width and height of the preview in pixels, upright; None where no preview was made.
    """
    if header.width * header.height < LEAST_PIXELS:
        return None
    # A reader of its own: whether it is lenient is for the tiling to find out.
    reader = reader_of(reader.path, reader.page)
    with suppress(pyvips.Error, UnicodeDecodeError, StageError, struct.error):
        try:
            return _make(reader, folder, meter)
        except pyvips.Error as error:
            if reader.overlook(error):
                return _make(reader, folder, meter)
    return None


def _make(reader: Reader, folder: Path, meter: Meter) -> tuple[int, int] | None:
    found = reader.smaller(PREVIEW_EDGE)
    return None if found is None else _write(found, reader, folder, meter)


def _write(found: pyvips.Image, reader: Reader, folder: Path, meter: Meter) -> tuple[int, int]:
    orientation = orientation_of(found)
    meter.begin(SHARE)
    follow(found, meter)
    scale = min(1.0, PREVIEW_EDGE / max(found.width, found.height))
    # Among measurements a sample may be none at all, which a mean would spread.
    kernel = "nearest" if found.format in {"float", "double"} else "lanczos3"
    # In memory: it is turned, and read twice where its samples' range is to be found.
    scaled = found.resize(scale, kernel=kernel)
    with reader.heeded():
        small = scaled.copy_memory()
    image = drop_metadata(to_srgb(small, reader, [], Meter(lambda *_: None), again=lambda: small))
    image = turned(image, orientation)
    if image.hasalpha():
        image = image.flatten(background=255)
    # In memory once more: both files are made of it.
    image = image.copy_memory()
    thumbnail = image.thumbnail_image(THUMBNAIL_EDGE, height=THUMBNAIL_EDGE, size="down")
    for picture, name in ((thumbnail, PREVIEW_THUMBNAIL), (image, PREVIEW)):
        picture.jpegsave(str(folder / name), Q=DEFAULT_QUALITY, keep="none")
    return image.width, image.height
