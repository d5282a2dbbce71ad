"""The pixels of a HEIC. libvips of `pyvips-binary` reads its header, and has no decoder of HEVC; `pi-heif` has one.

The whole picture is decoded at once, as libheif does for AVIF, too: see pipeline.formats.header.WHOLE_MEMORY.
"""

from __future__ import annotations

import os
from pathlib import Path

import pi_heif
import pyvips

from pipeline.errors import StageError

_SPACES = {
    ("L", "uchar"): "b-w",
    ("L", "ushort"): "grey16",
    ("I", "ushort"): "grey16",
    ("RGB", "uchar"): "srgb",
    ("RGB", "ushort"): "rgb16",
}

_CARRIED = ("icc-profile-data", "n-pages", "vips-loader", "heif-compression")
"""What the rest of the tiler asks a header for. No orientation: libheif has turned the picture already."""

pi_heif.options.DECODE_THREADS = len(os.sched_getaffinity(0))
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False


def decoded(path: Path, page: int, header: pyvips.Image) -> pyvips.Image:
    """Give the pixels of a page, in memory, which tiler.decode.readers.heif.sound has found to be sound.

    Parameters
    ----------
    page: 0 is the primary one.
    header: the page as libvips opens it.

    Raises
    ------
    StageError: unsupported_format, where pi-heif leaves pages out.
    pyvips.Error: where libheif fails.
    MemoryError: as it says.
    """
    try:
        pages = pi_heif.open_heif(path, convert_hdr_to_8bit=False)
        if page and len(pages) != header.get("n-pages"):
            raise StageError(
                "unsupported_format", "Not all pages of the HEIC can be read. Save the one that is wanted."
            )
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
