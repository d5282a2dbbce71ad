"""Anything that libvips reads, as upright 8-bit sRGB with or without alpha, streaming wherever it can.

A picture that already is 8-bit sRGB passes through untouched: its pixels are those of its decoder. What
else was decided is noted in words for pyramid.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from pipeline.errors import StageError
from pipeline.pyramid import Format
from tiler.meter import Meter

ORIENTATION = "orientation"
UPRIGHT = 1
MIRRORED = 2
"""The one EXIF orientation besides upright that streams: each row is only reversed."""

PROFILE = "icc-profile-data"
PROFILE_TOLERANCE = 2
"""Most that a profile may move any channel of the test colours and still be sRGB under another name:
conversion through Lab alone moves them by 1."""

PASS_SHARE = 0.3
"""Share of the whole that an extra pass over the source takes: decoding against decoding and encoding."""

FLOAT_MAX = 3.4e38
"""Greatest finite 32-bit float, rounded down: what lies beyond is infinite or not a number."""

_CARRIED = ("icc-profile-data", "exif-", "xmp-", "iptc-", "photoshop-", "png-comment-", "gainmap", ORIENTATION)
"""Metadata dropped from what is tiled: it could hold a place or a name, and no longer describes the pixels."""

_INTEGERS = {"uchar": "srgb", "ushort": "rgb16"}


@dataclass(slots=True)
class Picture:
    """A source ready to be tiled.

    Parameters
    ----------
    image: upright, 8-bit sRGB, 3 bands or 4 with alpha; can be read once, top to bottom.
    source: what the file is: format, size in pixels, bands, sample type, colour space.
    decisions: what was done to its pixels, in words; empty where they are untouched.
    """

    image: pyvips.Image
    source: dict[str, str | int]
    decisions: list[str] = field(default_factory=list)

    @property
    def format(self) -> Format:
        """The tiles' format: PNG keeps transparency, JPEG is small."""
        return Format.PNG if self.image.bands == 4 else Format.JPEG


def open_picture(path: Path, *, max_pixels: int, meter: Meter) -> Picture:
    """Open a source; decodes only where an extra pass is needed (rotation, sample ranges).

    Parameters
    ----------
    max_pixels: pixels of the largest picture taken, judged by the header.
    meter: is told of extra passes.

    Raises
    ------
    StageError: image_too_large.
    pyvips.Error: where the file cannot be opened or an extra pass cannot decode it.
    """
    image = _open(path)
    if image.width * image.height > max_pixels:
        raise StageError(
            "image_too_large",
            f"The picture has {image.width} x {image.height} pixels; at most {max_pixels} are taken here.",
        )
    picture = Picture(
        image,
        source={
            "format": str(image.get("vips-loader")).removesuffix("load"),
            "width": image.width,
            "height": image.height,
            "bands": image.bands,
            "samples": image.format,
            "colour_space": image.interpretation,
        },
    )
    orientation = _orientation(image)
    _convert(picture, path, meter)
    _drop_metadata(picture)
    if orientation != UPRIGHT:
        _turn(picture, orientation, meter)
    return picture


def _open(path: Path) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")


def _orientation(image: pyvips.Image) -> int:
    value = image.get(ORIENTATION) if image.get_typeof(ORIENTATION) else UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def _convert(picture: Picture, path: Path, meter: Meter) -> None:
    image = picture.image
    _drop_extra_bands(picture)
    if image.interpretation in {"lab", "labs", "labq", "xyz", "scrgb"}:
        picture.image = picture.image.colourspace("srgb")
        picture.decisions.append(f"{image.interpretation} converted to sRGB")
    elif image.format not in _INTEGERS:
        _stretch(picture, path, meter)
    elif image.interpretation == "cmyk":
        picture.image = picture.image.icc_transform("srgb", input_profile="cmyk", embedded=True, depth=8)
        named = "its own profile" if image.get_typeof(PROFILE) else "libvips' default CMYK profile"
        picture.decisions.append(f"CMYK converted to sRGB through {named}")
    else:
        _convert_rgb(picture)


def _convert_rgb(picture: Picture) -> None:
    image = picture.image
    if image.get_typeof(PROFILE):
        verdict = _profile_effect(image)
        if verdict == "other":
            picture.image = image.icc_transform("srgb", embedded=True, depth=8)
            picture.decisions.append("converted to sRGB through the picture's own profile")
            if picture.image.bands != image.bands and image.format == "uchar":
                picture.decisions.append("grey repeated over three bands")
            return
        if verdict == "unusable":
            picture.decisions.append("the picture's colour profile is unusable and was ignored")
    if image.format == "ushort":
        picture.decisions.append("16-bit samples reduced to their upper 8 bits")
    if image.bands < 3:
        picture.decisions.append("grey repeated over three bands")
    if image.format != "uchar" or image.bands < 3:
        wide = image.format == "ushort"
        space = ("grey16" if wide else "b-w") if image.bands < 3 else ("rgb16" if wide else "srgb")
        picture.image = image.copy(interpretation=space).colourspace("srgb")
    elif image.interpretation != "srgb":
        picture.image = image.copy(interpretation="srgb")


def _drop_extra_bands(picture: Picture) -> None:
    image = picture.image
    colours = 4 if image.interpretation == "cmyk" else 1 if image.bands < 3 else 3
    kept = colours + 1
    if image.bands > kept:
        # More than one extra band is a measurement, not transparency.
        picture.image = image.extract_band(0, n=colours)
        picture.decisions.append(f"the first {colours} of {image.bands} bands kept")


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


def _stretch(picture: Picture, path: Path, meter: Meter) -> None:
    """Map numbers of any range to 0..255: 0..1 as it is, any other from its least to its greatest value."""
    image = picture.image
    if image.bands in {2, 4}:
        picture.decisions.append("the band after the colours, of unknown meaning, dropped")
    colours = 1 if image.bands < 3 else 3
    meter.begin(PASS_SHARE)
    low, high = _range(_open(path).extract_band(0, n=colours), meter)
    picture.decisions.append(f"{image.format} samples from {low:g} to {high:g} mapped to 0 to 255")
    samples = image.extract_band(0, n=colours)
    level = (samples - low) * (255.0 / (high - low))
    # Not-a-number compares to nothing: missing samples become black.
    level = (level >= 0).ifthenelse(level, 0).rint().cast("uchar")
    picture.image = level.copy(interpretation="b-w" if colours == 1 else "srgb").colourspace("srgb")


def _range(samples: pyvips.Image, meter: Meter) -> tuple[float, float]:
    """Give the finite samples' least and greatest value, or 0 and 1 where all lie between these."""
    finite = samples.abs() <= FLOAT_MAX
    joined = finite.ifthenelse(samples, FLOAT_MAX).bandjoin(finite.ifthenelse(samples, -FLOAT_MAX))
    follow(joined, meter)
    table = joined.stats()
    rows = range(1, samples.bands + 1)
    low = min(table(0, row)[0] for row in rows)
    high = max(table(1, row + samples.bands)[0] for row in rows)
    if low > high:
        return 0.0, 1.0
    if (low >= 0.0 and high <= 1.0) or low == high:
        return min(low, 0.0), max(high, 1.0)
    return low, high


def _drop_metadata(picture: Picture) -> None:
    image = picture.image.copy()
    for name in image.get_fields():
        if name.startswith(_CARRIED):
            image.remove(name)
    picture.image = image


def _turn(picture: Picture, orientation: int, meter: Meter) -> None:
    image = picture.image
    if orientation != MIRRORED:
        # Turning needs any row at any time: into a file below TMPDIR, which libvips removes by itself.
        meter.begin(PASS_SHARE)
        follow(image, meter)
        spooled = pyvips.Image.new_temp_file("%s.v")
        image.write(spooled)
        image = spooled.copy()
    else:
        image = image.copy()
    image.set_type(pyvips.GValue.gint_type, ORIENTATION, orientation)
    picture.image = image.autorot()
    picture.decisions.append(f"EXIF orientation {orientation} applied")


def follow(image: pyvips.Image, meter: Meter) -> None:
    """Have `meter` told how far `image` is, whenever something evaluates it."""

    def on_eval(_: pyvips.Image, progress: Any) -> None:  # a cffi struct: VipsProgress
        meter.move(progress.npels / progress.tpels if progress.tpels else 0.0)

    image.set_progress(True)
    image.signal_connect("eval", on_eval)
