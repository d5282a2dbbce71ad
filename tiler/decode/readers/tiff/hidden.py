"""Find the pixels of a page that show nothing, and paint the strips or tiles that it leaves out.

All of this is done with the samples as libvips returns them, before any colour is converted: docs/decisions/0023.
"""

from __future__ import annotations

import math
from array import array
from functools import reduce
from operator import and_

import pyvips

from pipeline.formats.tiff import NATIVE, Directory, Tag
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.layout import PALETTE
from pipeline.formats.tiff.nodata import HUGE
from pipeline.formats.tiff.samples import MOST_PACKED
from tiler.decode.metadata import PROFILE
from tiler.decode.percentiles import FRACTIONS, SCALED
from tiler.decode.readers.tiff.left_out import LeftOut

ORIENTATION = "orientation"

_UNSIGNED = 1


def shown_value(directory: Directory, value: float) -> tuple[float, ...]:
    """Return the sample that libvips returns for a stored value: one for all colours, or a palette's colour."""
    photometric, bits = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO), directory.value(Tag.BITS, 1)
    if photometric == PALETTE:
        number = int(value)
        return tuple(float(colour) for colour in palette_of(directory)[3 * number : 3 * number + 3])
    if directory.value(Tag.SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED or bits > MOST_PACKED + 1:
        return (value,)
    most = (1 << bits) - 1
    if bits < 8:
        value, most = round(value * 255 / most), 255
    return (most - value,) if photometric == WHITE_IS_ZERO else (value,)


def palette_of(directory: Directory) -> bytes:
    """Return the red, green and blue of all entries of a palette."""
    bits = directory.value(Tag.BITS, 1)
    stored = array("H", directory.raw(directory.entries[Tag.COLOUR_MAP])[: 6 << bits])
    if directory.order != NATIVE:
        stored.byteswap()
    # Old programs write 8-bit values; libvips takes them for that if no value needs more.
    shift = 8 if any(value > 255 for value in stored) else 0
    return bytes(stored[plane << bits | number] >> shift for number in range(1 << bits) for plane in range(3))


def painted(image: pyvips.Image, left_out: LeftOut, values: tuple[float, ...]) -> pyvips.Image:
    """Return the image with a colour where strips or tiles are left out. Bands after the colours become 0 there.

    Parameters
    ----------
    values: see `shown_value`.
    """
    colours = colour_bands(image)
    ink = [*(values[:colours] if len(values) > 1 else values * colours), *[0.0] * image.bands][: image.bands]
    where = left_out.mask()
    if where.bands not in {1, image.bands}:
        where = where.bandor()
    blank = (pyvips.Image.black(1, 1, bands=image.bands) + ink).cast(image.format)
    return where.ifthenelse(blank.embed(0, 0, image.width, image.height, extend="copy"), image)


def is_empty(image: pyvips.Image, left_out: LeftOut) -> pyvips.Image:
    """Return a mask, 255 where all colours of a pixel are left out."""
    where = left_out.mask()
    if where.bands == 1:
        return where
    return where.extract_band(0, n=min(where.bands, colour_bands(image))).bandand()


def is_nodata(image: pyvips.Image, values: tuple[float, ...]) -> pyvips.Image:
    """Return a mask, 255 where all colours have the value that stands for missing samples.

    Parameters
    ----------
    values: see `shown_value`. In an image of floats, not-a-number is missing whatever the value.
    """
    colours = colour_bands(image)
    each = values[:colours] if len(values) > 1 else values * colours
    return reduce(and_, (_has_value(image.extract_band(band), value) for band, value in enumerate(each)))


def _has_value(band: pyvips.Image, value: float) -> pyvips.Image:
    if band.format not in FRACTIONS:
        return band == value
    missing = band != band  # noqa: PLR0124  only not-a-number differs from itself
    if math.isnan(value):
        return missing
    if abs(value) >= HUGE:
        return missing | ((band >= HUGE) if value > 0 else (band <= -HUGE))
    return missing | (band == value)


def colour_bands(image: pyvips.Image) -> int:
    """Return the number of bands that are colours; alpha or other bands follow them."""
    return min(image.bands, 4) if image.interpretation == "cmyk" else 1 if image.bands < 3 else 3


def blanked(image: pyvips.Image, hidden: pyvips.Image) -> pyvips.Image:
    """Return an image whose samples have no fixed scale with not-a-number where nothing is shown; others unchanged."""
    if image.format in SCALED:
        return image
    samples = image if image.format in FRACTIONS else image.cast("double")
    return hidden.ifthenelse(math.nan, samples)


def blank_like(image: pyvips.Image) -> pyvips.Image:
    """Return a page of zeros with the header of an opened one, of which nothing is decoded."""
    blank = pyvips.Image.black(image.width, image.height, bands=image.bands).cast(image.format)
    blank = blank.copy(interpretation=image.interpretation)
    if image.get_typeof(ORIENTATION):
        blank.set_type(pyvips.GValue.gint_type, ORIENTATION, image.get(ORIENTATION))
    if image.get_typeof(PROFILE):
        blank.set_type(pyvips.GValue.blob_type, PROFILE, image.get(PROFILE))
    return blank
