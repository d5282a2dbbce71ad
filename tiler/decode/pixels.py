"""Anything that can be read here, as upright 8-bit sRGB with or without alpha, streaming wherever it can.

A picture that already is 8-bit sRGB passes through untouched: its pixels are those of its decoder. What
else was decided is noted in words for pyramid.json.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pyvips

from pipeline.formats import budget
from pipeline.formats.header import Header, pixel_bytes
from pipeline.pyramids import Format
from tiler.decode.colours import to_srgb
from tiler.decode.reader import Reader
from tiler.follow import PASS_SHARE, follow
from tiler.meter import Meter

ORIENTATION = "orientation"
UPRIGHT = 1
MIRRORED = 2
"""The one EXIF orientation besides upright that streams: each row is only reversed."""

_CARRIED = ("icc-profile-data", "exif-", "xmp-", "iptc-", "photoshop-", "png-comment-", "gainmap", ORIENTATION)
"""Metadata dropped from what is tiled: it could hold a place or a name, and no longer describes the pixels."""


@dataclass(slots=True)
class Picture:
    """A source ready to be tiled.

    Parameters
    ----------
    image: upright, 8-bit sRGB, 3 bands or 4 with alpha; can be read once, top to bottom.
    format: of the tiles.
    source: what the file is: format, size in pixels, pages and page, bands, sample type, colour space.
    heeded: whatever decodes the image has to do so within: see tiler.decode.reader.Reader.heeded.
    decisions: what was done to its pixels, in words; empty where they are untouched.
    """

    image: pyvips.Image
    format: Format
    source: dict[str, str | int]
    heeded: Callable[[], AbstractContextManager[None]]
    decisions: list[str] = field(default_factory=list)


def open_picture(reader: Reader, *, meter: Meter, tile_format: Format | None = None) -> Picture:
    """Open the page of a stored source; decodes only where an extra pass is needed (rotation, sample ranges).

    Parameters
    ----------
    meter: is told of extra passes.
    tile_format: of the tiles; None for JPEG, or PNG where the picture has transparency.

    Raises
    ------
    StageError: page_not_found, unsupported_format, image_corrupt.
    pyvips.Error: where the file cannot be opened or an extra pass cannot decode it.
    """
    header = reader.header()
    reader.require_sound_data()
    stored = reader.open()
    decisions = list(reader.notes)
    image = drop_metadata(to_srgb(stored, reader, decisions, meter))
    if (orientation := orientation_of(stored)) != UPRIGHT:
        image = _turn(image, reader, orientation, meter)
        decisions.append(f"EXIF orientation {orientation} applied")
    if tile_format is Format.JPEG and image.hasalpha():
        image = image.flatten(background=255)
        decisions.append("transparency laid on white: JPEG tiles have none")
    chosen = tile_format or (Format.PNG if image.hasalpha() else Format.JPEG)
    if reader.is_quiet and chosen is not Format.JPEG:
        _hear_out(reader, meter)
    return Picture(image, chosen, _describe(stored, header, reader.page), reader.heeded, decisions)


def orientation_of(image: pyvips.Image) -> int:
    """Give EXIF's orientation, 1 (upright) to 8; upright where there is none or none of these."""
    value = int(image.get(ORIENTATION)) if image.get_typeof(ORIENTATION) else UPRIGHT
    return value if UPRIGHT <= value <= 8 else UPRIGHT


def turned(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Give an image upright whose rows can be read at any time."""
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, ORIENTATION, orientation)
    return image.autorot()


def drop_metadata(image: pyvips.Image) -> pyvips.Image:
    """Give an image without what tells of places, names or a profile."""
    image = image.copy()
    for name in image.get_fields():
        if name.startswith(_CARRIED):
            image.remove(name)
    return image


def _turn(image: pyvips.Image, reader: Reader, orientation: int, meter: Meter) -> pyvips.Image:
    if orientation == MIRRORED:
        return turned(image, orientation)
    budget.require_small_spool(image.width * image.height * pixel_bytes(image), reader.path.stat().st_size)
    # Turning needs any row at any time: into a file below TMPDIR, which libvips removes by itself.
    meter.begin(PASS_SHARE)
    follow(image, meter)
    spooled = pyvips.Image.new_temp_file("%s.v")
    with reader.heeded():
        image.write(spooled)
    return turned(spooled, orientation)


def _hear_out(reader: Reader, meter: Meter) -> None:
    """Decode a source once more, and hear of damage: libvips is deaf for moments while it saves tiles by suffix."""
    meter.begin(PASS_SHARE)
    image = reader.open().copy()
    follow(image, meter)
    with reader.heeded():
        image.avg()


def _describe(image: pyvips.Image, header: Header, page: int) -> dict[str, str | int]:
    pages = {"pages": header.pages, "page": page} if header.pages > 1 else {}
    return {
        "format": header.format,
        "width": image.width,
        "height": image.height,
        "bands": image.bands,
        "samples": image.format,
        "colour_space": image.interpretation,
    } | pages
