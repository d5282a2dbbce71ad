"""Decode the pixels of a HEIC with `pi-heif`. The libvips of `pyvips-binary` reads the header, but cannot decode HEVC.

The whole image is decoded into memory, as for AVIF: see pipeline.formats.header.WHOLE_MEMORY.
"""

from __future__ import annotations

import os
from pathlib import Path

import pi_heif
import pyvips

from pipeline.errors import StageError
from pipeline.formats.header import page_of_decoder

_SPACES = {
    ("L", "uchar"): "b-w",
    ("L", "ushort"): "grey16",
    ("I", "ushort"): "grey16",
    ("RGB", "uchar"): "srgb",
    ("RGB", "ushort"): "rgb16",
}

_CARRIED = ("icc-profile-data", "n-pages", "vips-loader", "heif-compression")
"""Header fields that the rest of the tiler reads. Not the orientation: libheif has turned the picture already."""

pi_heif.options.DECODE_THREADS = len(os.sched_getaffinity(0))
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False


def decoded(source: Path | bytes, page: int, header: pyvips.Image) -> pyvips.Image:
    """Decode a page into memory. Check it before with tiler.decode.readers.heif.damage, and correct it afterwards with
    tiler.decode.readers.heif.coding.

    Parameters
    ----------
    source: the file, or its bytes.
    page: 0 is the primary one.
    header: the page as libvips opens it.

    Raises
    ------
    StageError: unsupported_format, if pi-heif does not list all pages.
    pyvips.Error: if libheif fails.
    MemoryError: if memory runs out.
    """
    try:
        pages = pi_heif.open_heif(source, convert_hdr_to_8bit=False)
        if page and len(pages) != header.get("n-pages"):
            raise StageError(
                "unsupported_format", "Not all pages of the HEIC can be read. Save the page you want as its own file."
            )
        found = pages[page_of_decoder(header, page) if page else pages.primary_index]
        name, _, _ = found.mode.partition(";")
        samples = "uchar" if found.info["bit_depth"] == 8 else "ushort"
        # Copied, since `pages` owns the memory and frees it.
        pixels = pyvips.Image.new_from_memory(bytes(found.data), *found.size, len(name), samples)
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError, IndexError) as error:
        raise pyvips.Error("heif: cannot be decoded", str(error)) from error
    if found.size != (header.width, header.height):
        raise pyvips.Error("heif: Invalid input", "the decoded picture has another size than its header says")
    pixels = pixels.copy(interpretation=_SPACES[name[:3].removesuffix("A").removesuffix("a"), pixels.format])
    for field in _CARRIED:
        if header.get_typeof(field):
            pixels.set_type(header.get_typeof(field), field, header.get(field))
    return pixels
