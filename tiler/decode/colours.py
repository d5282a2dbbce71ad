"""Convert a source's colours to 8-bit sRGB while streaming, and describe each conversion for pyramid.json.

8-bit samples that already are sRGB stay untouched. Otherwise the embedded colour profile is applied, or the colour
space that the file names by code points (tiler.decode.tone_mapping). 16-bit samples of stated colours keep their upper
8 bits. Samples that are no stated colours (most 16-bit, all float, signed and 32-bit) are mapped by the option
`stretch`: see pipeline.stretch and tiler.decode.samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import chain, product

import pyvips

from pipeline.errors import StageError
from pipeline.stretch import Kind, Stretch
from tiler.decode import tone_mapping
from tiler.decode.colour_spaces import ColourSpace, Range, by_cicp
from tiler.decode.decoder_messages import heard
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.metadata import IGNORED, PROFILE, UNUSABLE, cicp_in, is_whole_profile
from tiler.decode.percentiles import SCALED
from tiler.decode.reader import Reader
from tiler.decode.samples import AUTO, Shown, automatic, show, transparency
from tiler.decode.sampling import Sample

PROFILE_TOLERANCE = 2
"""Largest change of any channel of the test colours for which a profile still counts as sRGB. The conversion through
Lab alone changes them by 1."""

_STEPS = {1: range(256), 3: range(0, 256, 17), 4: range(0, 256, 85)}
_NAMES = {1: "b-w", 3: "srgb", 4: "cmyk"}
"""Samples of the test colours, and their colour space, by the number of bands."""

"""How samples are mapped whose range nothing states."""

_SPACES = {"lab", "labs", "labq", "xyz"}
"""Colour spaces that define the range of their samples, whatever the sample type."""


def to_srgb(
    image: pyvips.Image,
    reader: Reader,
    stretch: Stretch,
    decisions: list[str],
    sample: Callable[[], Sample],
) -> tuple[pyvips.Image, Shown | None]:
    """Return the image as 8-bit sRGB with 3 bands, or 4 with alpha, and how its samples were mapped, if they were.

    Parameters
    ----------
    image: the page that `reader` opened, or a smaller version of the page.
    stretch: how samples become 8 bits.
    decisions: receives a line of text for each conversion.
    sample: returns pixels of the page, in memory, to find the range of its samples. See tiler.decode.sampling.

    Raises
    ------
    StageError: unsupported_format.
    pyvips.Error: if the sample cannot be decoded.
    """
    image = _drop_extra_bands(image, reader, decisions)
    if image.interpretation in _SPACES or image.interpretation == "cmyk":
        if stretch.kind not in {Kind.AUTO, Kind.NONE}:
            decisions.append(f"stretch {stretch} does not apply to {image.interpretation}")
        if image.interpretation == "cmyk":
            return _from_cmyk(image, decisions), None
        decisions.append(f"{image.interpretation} converted to sRGB")
        return _from_space(image), None

    def pixels() -> Sample:
        found = sample()
        return Sample(_drop_extra_bands(found.image, reader, []), found.hidden)

    rule, pixels = _rule(image, reader, stretch, pixels)
    if rule is None:
        return _from_rgb(image, reader, decisions), None
    image, shown = show(image, rule, pixels, decisions, reverse=reader.is_reversed, stored=reader.samples)
    decisions.append(f"{shown} ({_reason(stretch, rule)})")
    return image.colourspace("srgb"), shown


def _from_space(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation == "xyz":
        return image.colourspace("srgb")
    # Files store Lab for the white of ICC profiles (D50), which libvips' own conversion takes for that of sRGB (D65).
    return image.colourspace("lab").icc_export(output_profile="srgb", pcs="lab", depth=8)


def _rule(
    image: pyvips.Image, reader: Reader, asked: Stretch, sample: Callable[[], Sample]
) -> tuple[Stretch | None, Callable[[], Sample]]:
    """Return how to map the samples, None if their upper 8 bits are colours, and the function that samples them."""
    pixels = cache(sample)
    if asked.kind is Kind.NONE:
        if bits := reader.range_of_bits():
            return Stretch(Kind.RANGE, *bits), pixels
        return (None if image.format in SCALED else asked), pixels
    if asked.kind is not Kind.AUTO:
        return asked, pixels
    if image.format == "uchar":
        return None, pixels
    if display := reader.display_range():
        return Stretch(Kind.RANGE, *display), pixels
    if stated := reader.stated_range():
        found = pixels().range(AUTO)
        if found and stated[0] <= found[0] and found[1] <= stated[1]:
            return Stretch(Kind.RANGE, *stated), pixels
    if image.format == "ushort" and (_has_profile(image) or reader.states_colours):
        return None, pixels
    # 16-bit samples of a single value have no range of their own, so that only that of their type is left.
    return automatic(pixels()) or (None if image.format == "ushort" else AUTO), pixels


def _reason(asked: Stretch, rule: Stretch) -> str:
    match rule.kind:
        case Kind.NONE:
            return "the range of their type"
        case Kind.RANGE if asked.kind is Kind.NONE:
            return "the range of their bits"
        case Kind.RANGE if asked.kind is Kind.AUTO:
            return "the range that the file states"
        case Kind.RANGE:
            return "the least and the greatest" if rule.low is None else "the range that was asked for"
    low, high = rule.percentiles
    name = "asinh, percentiles" if rule.kind is Kind.ASINH else "percentiles"
    return f"{name} {low:g} to {high:g}"


def _has_profile(image: pyvips.Image) -> bool:
    return bool(image.get_typeof(PROFILE)) and _profile_effect(image) != "unusable"


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
    if image.format not in SCALED:
        raise StageError(
            "unsupported_format",
            "CMYK is supported with 8 or 16 bits a sample only. Save the image as a plain TIFF, JPEG or PNG.",
        )
    named = "libvips' default CMYK profile"
    if image.get_typeof(PROFILE):
        if _profile_effect(image) == "unusable":
            decisions.append(UNUSABLE[PROFILE])
            image = image.copy()
            image.remove(PROFILE)
        else:
            named = "its own profile"
    decisions.append(f"CMYK converted to sRGB through {named}")
    # libvips would keep the lower bits of a 16-bit alpha.
    shown = image.extract_band(0, n=4).icc_transform(
        "srgb", input_profile="cmyk", embedded=True, depth=8, black_point_compensation=True
    )
    return shown.bandjoin(transparency(image.extract_band(4))) if image.bands > 4 else shown


def _from_rgb(image: pyvips.Image, reader: Reader, decisions: list[str]) -> pyvips.Image:
    grey, wide = image.bands < 3, image.format == "ushort"
    effect = _profile_effect(image) if image.get_typeof(PROFILE) else "missing"
    hdr = None if grey or effect in {"missing", "unusable"} else _hdr_space(bytes(image.get(PROFILE)))
    if effect == "other" and hdr is None:
        decisions.append("converted to sRGB through the picture's own profile")
        if grey:
            decisions.append("grey repeated over three bands")
        return image.icc_transform("srgb", embedded=True, depth=8, black_point_compensation=True)
    if effect == "unusable":
        decisions.append(UNUSABLE[PROFILE])
    space = hdr if hdr or effect == "none" else _stated_space(image, reader, decisions)
    if space is not None:
        decisions.append(_described(space))
    elif wide:
        decisions.append("16-bit samples reduced to their upper 8 bits")
    if grey:
        decisions.append("grey repeated over three bands")
    if space is not None:
        return tone_mapping.to_srgb(image, space).colourspace("srgb")
    if wide or grey:
        interpretation = ("grey16" if wide else "b-w") if grey else "rgb16"
        return image.copy(interpretation=interpretation).colourspace("srgb")
    return image if image.interpretation == "srgb" else image.copy(interpretation="srgb")


def _stated_space(image: pyvips.Image, reader: Reader, decisions: list[str]) -> ColourSpace | None:
    """Return the colour space that the file names by code points, if it can be converted and is not like sRGB."""
    space = reader.colour_space()
    if space is None:
        return None
    if space.primaries is None or space.curve is None:
        decisions.append(f"the picture's colour space ({space.name}) is not supported and was taken as sRGB")
        return None
    grid = _test_colours(1 if image.bands < 3 else 3)
    moved = (tone_mapping.to_srgb(grid, space) - grid).abs().max()
    return space if moved > PROFILE_TOLERANCE else None


def _hdr_space(profile: bytes) -> ColourSpace | None:
    """Return the HDR colour space that a profile is marked with, whose other tags do not fit light beyond white."""
    marked = cicp_in(profile)
    space = by_cicp(*marked) if marked else None
    return space if space and space.primaries and space.curve and space.curve.range is not Range.SDR else None


def _described(space: ColourSpace) -> str:
    if space.curve is not None and space.curve.range is not Range.SDR:
        knee = f"{tone_mapping.KNEE * 100:g} %"
        return f"{space.name} (HDR) converted to sRGB, light brighter than {knee} of white compressed"
    return f"{space.name} converted to sRGB"


def _profile_effect(image: pyvips.Image) -> str:
    """Apply the embedded profile to a grid of colours, and return its effect.

    Returns
    -------
    "none" if the profile is sRGB, "other" if it changes colours or is of CMYK, "unusable" if it cannot be applied.
    """
    profile = bytes(image.get(PROFILE))
    if not is_whole_profile(profile):
        return "unusable"
    bands = 4 if image.interpretation == "cmyk" else 1 if image.bands < 3 else 3
    grid = _test_colours(bands)
    grid.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    try:
        with heard() as words:
            shown = grid.icc_transform("srgb", embedded=True, depth=8).copy_memory()
    except ERRORS:
        return "unusable"
    if any(IGNORED.search(remark) for remark in words.remarks):
        return "unusable"
    return "none" if bands < 4 and (shown - grid).abs().max() <= PROFILE_TOLERANCE else "other"


def _test_colours(bands: int) -> pyvips.Image:
    """Return a grid of 8-bit colours: of grey, RGB or CMYK by the number of bands (1, 3 or 4)."""
    colours = bytes(chain.from_iterable(product(_STEPS[bands], repeat=bands)))
    grid = pyvips.Image.new_from_memory(colours, len(colours) // bands, 1, bands, "uchar")
    return grid.copy(interpretation=_NAMES[bands])
