"""Convert a source's colours to 8-bit sRGB while streaming, and describe each conversion for pyramid.json.

8-bit samples that already are sRGB stay untouched. 16-bit samples without a colour profile keep their upper 8 bits.
Samples without a defined range (float, signed, 32-bit) are stretched: see tiler.decode.samples.
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
"""Largest change of any channel of the test colours for which a profile still counts as sRGB. The conversion through
Lab alone changes them by 1."""

_SCALED = {"uchar", "ushort"}
_SPACES = {"lab", "labs", "labq", "xyz"}
"""Colour spaces that define the range of their samples, whatever the sample type."""


def to_srgb(
    image: pyvips.Image,
    reader: Reader,
    decisions: list[str],
    meter: Meter,
    again: Callable[[], pyvips.Image] | None = None,
) -> pyvips.Image:
    """Return the image as 8-bit sRGB with 3 bands, or 4 with alpha.

    Parameters
    ----------
    image: the page that `reader` opened, or a smaller version of the page.
    decisions: receives a line of text for each conversion.
    meter: receives the progress of an extra pass.
    again: opens the image once more, for the pass that finds the range of the samples. Default: `reader.open`.

    Raises
    ------
    StageError: unsupported_format.
    pyvips.Error: if an extra pass cannot decode the source.
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
        # Several extra bands are measurements, not transparency.
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
            "CMYK is supported with 8 or 16 bits a sample only. Save the image as a plain TIFF, JPEG or PNG.",
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
    """Apply the embedded profile to a grid of colours, and return its effect.

    Returns
    -------
    "none" if the profile is sRGB, "other" if it changes colours, "unusable" if it cannot be applied.
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
