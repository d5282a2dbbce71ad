"""Find how large a pixel of a TIFF's page is: docs/decisions/0037. Pure functions.

Sources: the OME Data Model 2016-06 (PhysicalSizeX); Aperio's "Digital Slides and Third-Party Data Interchange" (MPP);
ImageJ's TiffEncoder; TIFF 6.0, section 8 (ResolutionUnit), which Hamamatsu's NDPI and other microscopes use, too.
"""

from __future__ import annotations

import re

from pipeline import pixel_size
from pipeline.formats import density, tiff
from pipeline.formats.tiff import imagej, ome
from pipeline.formats.tiff.decimals import decimals
from pipeline.formats.tiff.texts import description_of
from pipeline.pixel_size import PixelSize

_MPP = re.compile(rb"\|\s*MPP\s*=\s*(\d{1,9}(?:\.\d{0,18})?)\s*(?:[|\r\n]|$)")
_SIZED = re.compile(rb"<(?:\w+:)?Pixels\b[^<>]{0,8000}\bPhysicalSizeX\b")
"""What OME-XML with a scale has: only then it is worth the seconds that 32 MB of XML take."""

_MOST_APERIO = 1 << 16

_SAME_SHAPE = 0.03
"""Relative difference of the shapes of two versions of a page that rounding explains."""


def pixel_size_of(file: tiff.File, place: tiff.Place) -> PixelSize | None:
    """Return how large a pixel of a page is, as stored; None if the file does not say it, or says a default.

    Parameters
    ----------
    place: of the page.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    directory = place.read(file)
    if tiff.is_named(directory):
        return None
    if place.sub is not None:
        return _by_resolution(file, directory)
    first = directory if place.number == 0 else next(iter(tiff.directories(file)))
    text = description_of(first, ome.MOST_XML)
    if text.startswith(b"Aperio"):
        return _scaled(_by_aperio(text), first, directory)
    if b"OME" in text and _SIZED.search(text):
        samples = max(1, directory.value(tiff.Tag.SAMPLES, 1))
        for pixels in ome.parse(text):
            if pixels.has(place.number, samples):
                return pixels.pixel_size
        return None
    if place.is_reduced and place.number:
        # Writers repeat the resolution of the first page, which a smaller version does not have.
        return _scaled(_by_resolution(file, first), first, directory)
    if text.startswith(b"ImageJ="):
        unit = imagej.unit_of(text)
        if unit not in {"inch", "cm"}:
            return _by_imagej(first, unit)
    return _by_resolution(file, directory)


def _by_aperio(text: bytes) -> PixelSize | None:
    found = _MPP.search(text[:_MOST_APERIO])
    return pixel_size.of_metres(float(found[1]) * 1e-6, float(found[1]) * 1e-6) if found else None


def _by_imagej(first: tiff.Directory, unit: str) -> PixelSize | None:
    metres = imagej.METRES.get(unit)
    across, down = (decimals(first, tag, 1) for tag in (tiff.Tag.X_RESOLUTION, tiff.Tag.Y_RESOLUTION))
    if metres is None or not across or not down or min(*across, *down) <= 0:
        return None
    return pixel_size.of_metres(metres / across[0], metres / down[0])


def _by_resolution(file: tiff.File, directory: tiff.Directory) -> PixelSize | None:
    return None if density.is_photograph(file, directory) else density.by_directory(directory)


def _scaled(size: PixelSize | None, first: tiff.Directory, page: tiff.Directory) -> PixelSize | None:
    """Return the size in a page that is a smaller version of the first one; None if it is none."""
    if size is None or page.offset == first.offset:
        return size
    found = ratio_of(first, page)
    return size.times(*found) if found else None


def ratio_of(first: tiff.Directory, page: tiff.Directory) -> tuple[float, float] | None:
    """Return how many times wider and higher the first page is; None if a page is no version of it.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    widths, heights = ([one.value(tag, 0) for one in (first, page)] for tag in (tiff.Tag.WIDTH, tiff.Tag.HEIGHT))
    if min(*widths, *heights) < 1:
        return None
    across, down = widths[0] / widths[1], heights[0] / heights[1]
    # Of a version of few pixels, an edge may be rounded by one.
    slack = _SAME_SHAPE + 1 / widths[1] + 1 / heights[1]
    return (across, down) if abs(across / down - 1) <= slack else None
