"""Parse the four parameters of a IIIF image request: region, size, rotation, quality and format. Pure.

Section numbers refer to the Image API 3.0.0 (iiif.io/api/image/3.0), and are the same in 2.1.1.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

from gateway.tiles.pyramid_app import Malformed
from pipeline.pyramids import Format, Geometry
from pipeline.regions import MOST_EDGE, QUALITIES, Region

_INTEGER = r"[0-9]{1,9}"
_DECIMAL = rf"{_INTEGER}(?:\.[0-9]{{1,9}})?"
_SIZE = rf"max|{_INTEGER},|,{_INTEGER}|pct:{_DECIMAL}|!?{_INTEGER},{_INTEGER}"

_REGION = re.compile(rf"full|square|{','.join([_INTEGER] * 4)}|pct:{','.join([_DECIMAL] * 4)}")
_SIZES = {"2": re.compile(rf"full|{_SIZE}"), "3": re.compile(rf"\^?(?:{_SIZE})")}
_ROTATION = re.compile(rf"!?{_DECIMAL}")

_FORMS = {
    "region": "full, square, x,y,w,h or pct:x,y,w,h",
    "size2": "max, full, w, or ,h or w,h or !w,h or pct:n",
    "size3": "max, w, or ,h or w,h or !w,h or pct:n, each with ^ in front to enlarge",
    "rotation": "0, 90, 180 or 270, with ! in front to mirror",
}

OLD_QUALITIES = {"native": "default"}
"""Quality names that clients of version 1 send."""

FORMATS = {kind.value: kind for kind in Format}


class Limits(NamedTuple):
    """What a result may have at most: pixels in all, and pixels of an edge."""

    area: int
    edge: int

    @classmethod
    def of(cls, area: int) -> Limits:
        return cls(area, min(MOST_EDGE, area))


class ImageRequest(NamedTuple):
    """An image request, with all numbers in pixels.

    Parameters
    ----------
    region: which part, in which size.
    is_height_free: whether the height of the result follows from its width. It may then be rounded up or down.
    mirrored: whether the result is mirrored left to right, before it is turned.
    turns: quarters of a turn clockwise, 0 to 3.
    quality: one of QUALITIES.
    format: of the result.
    """

    region: Region
    is_height_free: bool
    mirrored: bool
    turns: int
    quality: str
    format: Format

    @property
    def is_plain(self) -> bool:
        """Whether the pixels are wanted as they are stored."""
        return not self.mirrored and not self.turns and self.quality in {"default", "color"}

    @property
    def name(self) -> str:
        """The same for all requests with the same result."""
        quality = "default" if self.quality == "color" else self.quality
        turned = f"{'!' if self.mirrored else ''}{90 * self.turns}"
        return "{}-{}-{}-{}-{}-{}".format(*self.region) + f"-{turned}-{quality}.{self.format}"


def parse(
    version: str, region: str, size: str, rotation: str, file: str, geometry: Geometry, limits: Limits
) -> ImageRequest:
    """Parse the last four segments of a path.

    Parameters
    ----------
    version: of the Image API, "2" or "3".
    file: the quality, a dot, and the format.

    Raises
    ------
    Malformed: the request breaks the syntax, cannot be fulfilled, or exceeds a limit. The message says which.
    """
    quality, kind = _file(file, version)
    mirrored, turns = _rotation(rotation, version)
    x, y, width, height = _region(region, version, geometry)
    to_width, to_height = _size(size, version, width, height, limits)
    return ImageRequest(
        Region(x, y, width, height, to_width, to_height),
        is_height_free=size.removeprefix("^").endswith(","),
        mirrored=mirrored,
        turns=turns,
        quality=quality,
        format=kind,
    )


def largest(width: int, height: int, limits: Limits, *, may_grow: bool = False) -> tuple[int, int]:
    """Return the largest size of a region within the limits, with its proportions."""
    scale = min(
        limits.edge / max(width, height), math.sqrt(limits.area / (width * height)), math.inf if may_grow else 1.0
    )
    if scale == 1.0:
        return width, height
    # Whatever the floating point does, the size stays within the limits.
    to_width = max(1, min(limits.edge, int(width * scale + 1e-9)))
    to_height = max(1, min(limits.edge, limits.area // to_width, _rounded(Fraction(height * to_width, width))))
    return to_width, to_height


def _file(file: str, version: str) -> tuple[str, Format]:
    quality, dot, extension = file.partition(".")
    qualities = QUALITIES if version == "3" else (*QUALITIES, *OLD_QUALITIES)
    if not dot or quality not in qualities:
        raise Malformed(
            _invalid(file, "quality and format", version, f"{', '.join(qualities)}, with .jpg, .png or .webp")
        )
    if extension not in FORMATS:
        raise Malformed(f"The format {extension[:20]} is not available. Use one of {', '.join(FORMATS)}.")
    return OLD_QUALITIES.get(quality, quality), FORMATS[extension]


def _rotation(text: str, version: str) -> tuple[bool, int]:
    if not _ROTATION.fullmatch(text):
        raise Malformed(_invalid(text, "rotation", version, _FORMS["rotation"]))
    degrees = Fraction(text.removeprefix("!"))
    if degrees > 360:
        raise Malformed(f"The rotation {text} is above 360 degrees.")
    if degrees % 90:
        raise Malformed(f"The rotation {text} is not available. Use {_FORMS['rotation']}.")
    return text.startswith("!"), int(degrees // 90) % 4


def _region(text: str, version: str, geometry: Geometry) -> tuple[int, int, int, int]:
    if not _REGION.fullmatch(text):
        raise Malformed(_invalid(text, "region", version, _FORMS["region"]))
    width, height = geometry.width, geometry.height
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        edge = min(width, height)
        return (width - edge) // 2, (height - edge) // 2, edge, edge
    if text.startswith("pct:"):
        shares = [Fraction(share) / 100 for share in text.removeprefix("pct:").split(",")]
        x, y, w, h = (_rounded(share * of) for share, of in zip(shares, (width, height, width, height), strict=True))
    else:
        x, y, w, h = map(int, text.split(","))
    if not (w and h and x < width and y < height):
        raise Malformed(f"The region {text} is empty, or outside the image of {width} x {height} pixels.")
    return x, y, min(w, width - x), min(h, height - y)


def _size(text: str, version: str, width: int, height: int, limits: Limits) -> tuple[int, int]:
    """Return the size of the result of a region of `width` x `height`."""
    if not _SIZES[version].fullmatch(text):
        raise Malformed(_invalid(text, "size", version, _FORMS[f"size{version}"]))
    form = text.removeprefix("^")
    # Version 2 has no sign for it (`sizeAboveFull`).
    may_grow = version == "2" or form != text
    if form in {"max", "full"}:
        return largest(width, height, limits, may_grow=form != text)
    if form.startswith("!"):
        within = _confined(form, text, width, height, may_grow=may_grow)
        return within if _fits(*within, limits) else largest(*within, limits)
    to_width, to_height = _stated(form, width, height)
    if not (to_width and to_height):
        raise Malformed(f"The size {text} is empty.")
    if not may_grow and (to_width > width or to_height > height):
        raise Malformed(
            f"The size {text} is larger than the region of {width} x {height} pixels. Put ^ in front to enlarge it."
        )
    if not _fits(to_width, to_height, limits):
        raise Malformed(
            f"The size {text} is {to_width} x {to_height} pixels. At most {limits.edge} pixels for each edge "
            f"(maxWidth) and {limits.area} pixels in all (maxArea) are available. Ask for less, or for max."
        )
    return to_width, to_height


def _stated(form: str, width: int, height: int) -> tuple[int, int]:
    if form.startswith("pct:"):
        share = Fraction(form.removeprefix("pct:")) / 100
        return (_at_least_one(width * share), _at_least_one(height * share)) if share else (0, 0)
    wide, _, high = form.partition(",")
    if not high:
        return int(wide), _at_least_one(Fraction(height * int(wide), width)) if int(wide) else 0
    if not wide:
        return _at_least_one(Fraction(width * int(high), height)) if int(high) else 0, int(high)
    return int(wide), int(high)


def _confined(form: str, text: str, width: int, height: int, *, may_grow: bool) -> tuple[int, int]:
    """Return the largest size with the region's proportions within `!w,h`."""
    wide, high = map(int, form.removeprefix("!").split(","))
    if not (wide and high):
        raise Malformed(f"The size {text} is empty.")
    if not may_grow:
        wide, high = min(wide, width), min(high, height)
    if wide * height <= high * width:
        return wide, _at_least_one(Fraction(height * wide, width))
    return _at_least_one(Fraction(width * high, height)), high


def _fits(width: int, height: int, limits: Limits) -> bool:
    return max(width, height) <= limits.edge and width * height <= limits.area


def _rounded(number: Fraction) -> int:
    """Round half up."""
    return math.floor(number + Fraction(1, 2))


def _at_least_one(number: Fraction) -> int:
    # A strip of 100,000 x 40 pixels still has a thumbnail of 90 x 1.
    return max(1, _rounded(number))


def _invalid(text: str, name: str, version: str, forms: str) -> str:
    return f"{text[:50]} is not a valid {name} in the IIIF Image API {version} (section 4). Use {forms}."
