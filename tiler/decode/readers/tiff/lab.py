"""Convert CIELAB of a TIFF that libvips is shown as RGB: of 8 bits, or in the encoding of ICC profiles.

Sources: TIFF 6.0, section 23; Adobe's TIFF Technical Note for ICC L*a*b* (photometric interpretation 9).
"""

from __future__ import annotations

from array import array

import pyvips

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.colours import CIELAB
from pipeline.formats.tiff.layout import RGB

_SHARES = {"uchar": 255, "char": 255, "ushort": 0xFF00}
"""The sample of L* = 100, by libvips' names of samples."""


def as_rgb(directory: Directory) -> Directory:
    """Return the directory of a page as if its samples were RGB, so that libvips returns them as stored."""
    return directory.replaced({Tag.PHOTOMETRIC: array("Q", [RGB])})


def to_lab(image: pyvips.Image, photometric: int) -> pyvips.Image:
    """Return an image of L* from 0 to 100 and signed a*, b* in floats, from samples as stored.

    Parameters
    ----------
    photometric: value of Tag.PHOTOMETRIC. In CIELAB, a* and b* are signed bytes; in ICC's encoding, 128 stands for 0.
    """
    whole = 256 if image.format == "ushort" else 1
    lightness = image.extract_band(0)
    # The lightness is never negative, even if all samples are said to be signed.
    lightness = lightness.copy(format="uchar") if image.format == "char" else lightness
    lightness = lightness * (100 / _SHARES[image.format])
    colours = image.extract_band(1, n=2)
    opposites = colours.copy(format="char") if photometric == CIELAB else colours / whole - 128
    return lightness.bandjoin(opposites.cast("float")).copy(interpretation="lab")
