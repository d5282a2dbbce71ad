"""From a source's colours to 8-bit sRGB, streaming; what is done is noted in words for pyramid.json.

Whole numbers of 8 bits that stand for sRGB pass through untouched. Those of 16 bits without a profile of their own
keep their upper 8 bits. Samples without a scale of their own (tiler.decode.samples) are stretched.
"""

from __future__ import annotations

from collections.abc import Callable

import pyvips

from pipeline.errors import StageError
from tiler.decode.reader import Reader
from tiler.decode.samples import stretch
from tiler.meter import Meter

PROFILE = "icc-profile-data"

PROFILE_TOLERANCE = 2
"""Most that a profile may move any channel of the test colours and still be sRGB under another name:
conversion through Lab alone moves them by 1."""

_SCALED = {"uchar", "ushort"}
_SPACES = {"lab", "labs", "labq", "xyz"}
"""Colour spaces whose numbers have a scale of their own, whatever their type."""


def to_srgb(
    image: pyvips.Image,
    reader: Reader,
    decisions: list[str],
    meter: Meter,
    again: Callable[[], pyvips.Image] | None = None,
) -> pyvips.Image:
    """Give the image as 8-bit sRGB of 3 bands, or 4 with alpha.

    Parameters
    ----------
    image: the page that `reader` opened, whole or a smaller version of it.
    decisions: is added to.
    meter: is told of a pass of its own.
    again: gives the image once more, for a pass that finds its samples' range; by default `reader.open`.

    Raises
    ------
    StageError: unsupported_format.
    pyvips.Error: where a pass of its own cannot decode the source.
    """
    image = _drop_extra_bands(image, reader, decisions)
    if image.interpretation in _SPACES:
        decisions.append(f"{image.interpretation} converted to sRGB")
        return image.colourspace("srgb")
    if image.interpretation == "cmyk":
        return _from_cmyk(image, decisions)
    if image.format not in _SCALED:
        stretched = stretch(image, again or reader.open, reader.heeded, decisions, meter, reverse=reader.is_reversed)
        return stretched.colourspace("srgb")
    return _from_rgb(image, decisions)


def _drop_extra_bands(image: pyvips.Image, reader: Reader, decisions: list[str]) -> pyvips.Image:
    colours = 4 if image.interpretation == "cmyk" else 1 if image.bands < 3 else 3
    if image.bands > colours + 1:
        # More than one extra band is a measurement, not transparency.
        decisions.append(f"the first {colours} of {image.bands} bands kept")
        return image.extract_band(0, n=colours)
    if image.bands > colours and not reader.is_transparency(image.bands):
        decisions.append("the band after the colours, which is no transparency, left out")
        return image.extract_band(0, n=colours)
    return image


def _from_cmyk(image: pyvips.Image, decisions: list[str]) -> pyvips.Image:
    if image.format not in _SCALED:
        raise StageError(
            "unsupported_format",
            "The picture's samples cannot be read here: CMYK takes 8 or 16 bits. Save it as a plain TIFF, JPEG or PNG.",
        )
    named = "its own profile" if image.get_typeof(PROFILE) else "libvips' default CMYK profile"
    decisions.append(f"CMYK converted to sRGB through {named}")
    return image.icc_transform("srgb", input_profile="cmyk", embedded=True, depth=8, black_point_compensation=True)


def _from_rgb(image: pyvips.Image, decisions: list[str]) -> pyvips.Image:
    grey, wide = image.bands < 3, image.format == "ushort"
    if image.get_typeof(PROFILE):
        effect = _profile_effect(image)
        if effect == "other":
            decisions.append("converted to sRGB through the picture's own profile")
            if grey:
                decisions.append("grey repeated over three bands")
            return image.icc_transform("srgb", embedded=True, depth=8, black_point_compensation=True)
        if effect == "unusable":
            decisions.append("the picture's colour profile is unusable and was ignored")
    if wide:
        decisions.append("16-bit samples reduced to their upper 8 bits")
    if grey:
        decisions.append("grey repeated over three bands")
    if wide or grey:
        space = ("grey16" if wide else "b-w") if grey else "rgb16"
        return image.copy(interpretation=space).colourspace("srgb")
    return image if image.interpretation == "srgb" else image.copy(interpretation="srgb")


def _profile_effect(image: pyvips.Image) -> str:
    """Tell what the embedded profile does to a grid of colours.

    Returns
    -------
    "none" where it stands for sRGB, "other" where it moves colours, "unusable" where it cannot be applied.
    """
    grey = image.bands < 3
    steps = range(0, 256, 1 if grey else 17)
    colours = bytes(steps) if grey else bytes(v for r in steps for g in steps for b in steps for v in (r, g, b))
    bands = 1 if grey else 3
    grid = pyvips.Image.new_from_memory(colours, len(colours) // bands, 1, bands, "uchar")
    grid = grid.copy(interpretation="b-w" if grey else "srgb")
    grid.set_type(pyvips.GValue.blob_type, PROFILE, image.get(PROFILE))
    try:
        moved = (grid.icc_transform("srgb", embedded=True, depth=8) - grid).abs().max()
    except pyvips.Error:
        return "unusable"
    return "none" if moved <= PROFILE_TOLERANCE else "other"
