"""The pixels of a HEIC. libvips of `pyvips-binary` reads its header, and has no decoder of HEVC; `pi-heif` has one.

The whole picture is decoded at once, as libheif does for AVIF, too: see pipeline.formats.header.WHOLE_MEMORY.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import pi_heif
import pyvips

from pipeline.errors import StageError
from tiler.decode import hevc
from tiler.decode.heif_items import Coded, Items

_SPACES = {("L", "uchar"): "b-w", ("L", "ushort"): "grey16", ("RGB", "uchar"): "srgb", ("RGB", "ushort"): "rgb16"}

MOST_SURPLUS, SURPLUS_FREE = 4, 1 << 24
"""Pixels of the coded pictures for each pixel that is shown, and besides. A grid covers what it shows, its tiles filled
up at its edges, and transparency doubles that."""

_CARRIED = ("icc-profile-data", "n-pages", "vips-loader", "heif-compression")
"""What the rest of the tiler asks a header for. No orientation: libheif has turned the picture already."""

pi_heif.options.DECODE_THREADS = len(os.sched_getaffinity(0))
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
hevc.load()


def decoded(path: Path, page: int, header: pyvips.Image) -> pyvips.Image:
    """Give the pixels of a page, in memory.

    Parameters
    ----------
    page: 0 is the primary one.
    header: the page as libvips opens it.

    Raises
    ------
    StageError: image_corrupt; decoder_too_slow, where it is put together from far more than it shows.
    pyvips.Error: where libheif fails.
    MemoryError: as it says.
    """
    with path.open("rb") as file:
        try:
            _require_sound(Items(file).coded(page), header.width * header.height)
        except struct.error as error:
            raise pyvips.Error("heif: Invalid input", str(error)) from error
    try:
        pages = pi_heif.open_heif(path, convert_hdr_to_8bit=False)
        found = pages[page or pages.primary_index]
        name, _, _ = found.mode.partition(";")
        samples = "uchar" if found.info["bit_depth"] == 8 else "ushort"
        # Copied, since the memory is that of `pages`, and goes with it.
        pixels = pyvips.Image.new_from_memory(bytes(found.data), *found.size, len(name), samples)
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError, IndexError) as error:
        raise pyvips.Error("heif: cannot be decoded", str(error)) from error
    if found.size != (header.width, header.height):
        raise pyvips.Error("heif: Invalid input", "the decoded picture has another size than its header says")
    if found.premultiplied_alpha:
        pixels = pixels.unpremultiply(max_alpha=255 if pixels.format == "uchar" else 65535).cast(pixels.format)
    pixels = pixels.copy(interpretation=_SPACES[name[:3].removesuffix("A").removesuffix("a"), pixels.format])
    for field in _CARRIED:
        if header.get_typeof(field):
            pixels.set_type(header.get_typeof(field), field, header.get(field))
    return pixels


def _require_sound(pictures: Iterable[Coded], shown: int) -> None:
    decoded = 0
    for picture in pictures:
        decoded += hevc.require_sound(picture) * picture.times
        if decoded > MOST_SURPLUS * shown + SURPLUS_FREE:
            raise StageError(
                "decoder_too_slow",
                f"The HEIC shows {shown / 1e6:.1f} megapixels, and is put together from {decoded / 1e6:.1f} and more. "
                "Save it again.",
            )
