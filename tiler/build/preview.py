"""Make a preview of the whole image before the tiling begins, if the source offers a cheap one.

| source | preview from | cost |
|---|---|---|
| baseline JPEG | decoding at an eighth, a quarter or half of its size | a quarter of the tiling |
| TIFF with overviews | its smallest overview that is large enough | next to nothing |
| other JPEG, AVIF | its embedded thumbnail | next to nothing |

At an eighth, libjpeg uses only the mean of each block. Three fifths of the remaining time is entropy decoding, which no
smaller size saves (docs/formats.md has the measurement).

For other sources a preview would cost too much, so none is made: an interlaced PNG, a WebP (38 % of the tiling,
measured), a HEIC, a plain TIFF, a progressive JPEG without a thumbnail.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pyvips

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.pyramids import DEFAULT_QUALITY, PREVIEW, PREVIEW_EDGE, PREVIEW_THUMBNAIL, THUMBNAIL_EDGE
from pipeline.stretch import DEFAULT, Stretch
from tiler.decode import (
    ERRORS,
    Layer,
    Opened,
    Reader,
    Sample,
    compose,
    drop_metadata,
    orientation_of,
    part_of,
    readers_of,
    to_srgb,
    turned,
    with_hidden,
)
from tiler.image_progress import follow
from tiler.progress import Meter

LEAST_PIXELS = 8_000_000
"""Least pixels of an image that gets a preview. A smaller one is tiled within the half second between two
heartbeats."""

SHARE = 0.2
"""Share of the whole progress: the time to decode a baseline JPEG at an eighth of its size."""


def make_preview(
    reader: Reader, header: Header, folder: Path, meter: Meter, stretch: Stretch = DEFAULT
) -> tuple[int, int] | None:
    """Write PREVIEW and PREVIEW_THUMBNAIL into the folder, if the source offers a cheap preview.

    A faulty source raises nothing here: the tiling will report it.

    Returns
    -------
    Width and height of the upright preview in pixels; None if no preview was made.
    """
    if header.width * header.height < LEAST_PIXELS:
        return None
    # Use a separate reader, so that the tiling decides for itself whether to be lenient.
    reader = reader.again()
    with suppress(*ERRORS, StageError, struct.error):
        try:
            return _make(reader, folder, meter, stretch)
        except ERRORS as error:
            if reader.overlook(error):
                return _make(reader, folder, meter, stretch)
    return None


def _make(reader: Reader, folder: Path, meter: Meter, stretch: Stretch) -> tuple[int, int] | None:
    layers = reader.layers()
    found = {}
    for each in readers_of(layers) or [reader]:
        if (smaller := each.smaller(PREVIEW_EDGE)) is None:
            return None
        orientation = orientation_of(smaller)
        found[each] = _scaled(smaller, each, meter)
    decisions: list[str] = []
    if layers:
        image, hidden, _ = compose(layers, found, stretch, decisions, lambda layer: _sample(found, layer))
    else:
        small, hidden = found[reader]
        image, _ = to_srgb(small, reader, stretch, decisions, lambda: part_of(reader) or _thin(small, hidden))
    return _write(turned(drop_metadata(with_hidden(image, hidden)), orientation), folder)


def _sample(found: dict[Reader, Opened], layer: Layer) -> Sample:
    part = part_of(layer.reader, layer.band)
    small, hidden = found[layer.reader]
    return part or _thin(small.extract_band(min(layer.band, small.bands - 1)), hidden)


def _thin(small: pyvips.Image, hidden: pyvips.Image | None) -> Sample:
    return Sample(small, hidden).thinned()


def _scaled(found: pyvips.Image, reader: Reader, meter: Meter) -> Opened:
    """Return a smaller version of a page, in memory, and what is hidden of it."""
    meter.begin(SHARE)
    follow(found, meter)
    scale = min(1.0, PREVIEW_EDGE / max(found.width, found.height))
    hidden, bands = reader.hidden, found.bands
    # Samples may be missing (not-a-number, or no data), and averaging would spread them.
    kernel = "nearest" if found.format in {"float", "double"} or hidden is not None else "lanczos3"
    # Keep it in memory: it is turned, and read twice if the range of its samples has to be found.
    scaled = (found if hidden is None else found.bandjoin(hidden)).resize(scale, kernel=kernel)
    with reader.heeded():
        small = scaled.copy_memory()
    if hidden is None:
        return Opened(small, None)
    shown = small.extract_band(0, n=bands).copy(interpretation=found.interpretation)
    return Opened(shown, small.extract_band(bands) != 0)


def _write(image: pyvips.Image, folder: Path) -> tuple[int, int]:
    if image.hasalpha():
        image = image.flatten(background=255)
    # Keep the result in memory, too: both files are made from it.
    image = image.copy_memory()
    thumbnail = image.thumbnail_image(THUMBNAIL_EDGE, height=THUMBNAIL_EDGE, size="down")
    for picture, name in ((thumbnail, PREVIEW_THUMBNAIL), (image, PREVIEW)):
        picture.jpegsave(str(folder / name), Q=DEFAULT_QUALITY, keep="none")
    return image.width, image.height
