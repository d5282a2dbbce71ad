"""Join the tiles of a IIIF image: docs/decisions/0030. Loads libvips, so import it before the process is confined."""

from __future__ import annotations

from typing import BinaryIO

import pyvips

from pipeline.errors import StageError
from pipeline.formats import libvips
from pipeline.formats.decoder_errors import said_by
from pipeline.formats.kinds import HEAD
from pipeline.formats.signatures import image_kind
from pipeline.formats.tile_sets import Place, TileSet, read_tiles
from pipeline.texts import sentence

LABEL = "The image joined from IIIF tiles"

BANDS = 3

MEMORY = 256 << 20
"""Bytes to decode one tile of the largest size, in several steps."""

_LOADERS = {
    # A JPEG's warnings stand for damage: a decoder goes on with grey.
    "jpeg": (pyvips.Image.jpegload_buffer, "warning"),
    "png": (pyvips.Image.pngload_buffer, "warning"),
    "webp": (pyvips.Image.webpload_buffer, "error"),
}


def prepare(min_libvips: str) -> int:
    """Make libvips ready before the process is confined. Returns the bytes of address space that joining may use."""
    libvips.require(pyvips, min_libvips)
    pyvips.cache_set_max(0)
    libvips.block_loaders(pyvips)
    return libvips.address_space(MEMORY, 0)


def joined_bytes(found: TileSet) -> int:
    """Return the length of the joined image's file."""
    return len(_head(found)) + found.width * found.height * BANDS


def join(source: BinaryIO, found: TileSet, target: BinaryIO) -> int:
    """Write the image as a PPM and return the file's length.

    Parameters
    ----------
    source: behind its head.
    target: empty and unbuffered.

    Raises
    ------
    StageError: image_corrupt, image_truncated, if a tile is missing, damaged or of another size.
    """
    head = _head(found)
    target.write(head)
    row = found.width * BANDS
    for place, data in read_tiles(source, found):
        pixels = memoryview(_decoded(place, data))
        width = place.width * BANDS
        for line in range(place.height):
            target.seek(len(head) + (place.y + line) * row + place.x * BANDS)
            target.write(pixels[line * width : (line + 1) * width])
    return joined_bytes(found)


def _head(found: TileSet) -> bytes:
    return b"P6\n%d %d\n255\n" % (found.width, found.height)


def _decoded(place: Place, data: bytes) -> bytes:
    """Return a tile's pixels, as 8-bit sRGB."""
    where = f"The tile at {place.x:,}, {place.y:,} of the IIIF image"
    kind = image_kind(data[:HEAD])
    if kind not in _LOADERS:
        raise StageError("image_corrupt", f"{where} is no JPEG, PNG or WebP. {_ADVICE}")
    load, fail_on = _LOADERS[kind]
    try:
        image = load(data, access="sequential", fail_on=fail_on)
        if (image.width, image.height) != (place.width, place.height):
            raise StageError(
                "image_corrupt",
                f"{where} has {image.width:,} x {image.height:,} pixels instead of {place.width:,} x "
                f"{place.height:,}. {_ADVICE}",
            )
        pixels = _all_pixels(_srgb(image))
    except pyvips.Error as error:
        why = sentence(" ".join(said_by(error).split()), 100).rstrip(".")
        raise StageError("image_corrupt", f"{where} cannot be decoded ({why}). {_ADVICE}") from error
    return pixels


def _all_pixels(image: pyvips.Image) -> bytes:
    """Decode a tile; raises pyvips.Error also if libjpeg warns of the last rows, which libvips only writes down."""
    pyvips.vips_lib.vips_error_clear()
    pixels: bytes = image.write_to_memory()
    said = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace")
    late = "\n".join(line for line in said.splitlines() if line.startswith("VipsJpeg"))
    if late:
        raise pyvips.Error("a part of the tile could not be decoded", late)
    return pixels


def _srgb(image: pyvips.Image) -> pyvips.Image:
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="relative")
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.hasalpha():
        image = image.flatten(background=255)
    return image.cast("uchar")


_ADVICE = "Retry to fetch all tiles again."
