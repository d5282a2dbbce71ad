"""Admit or refuse an image by its header: by its pixels, by its pixels per byte of the file, by the memory it needs.

Pure functions.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.header import WHOLE_MEMORY, Header, decoding_memory
from pipeline.source_formats import IMAGES
from pipeline.texts import amount

FREE_PIXELS = 1 << 30
"""Pixels that any file may have, however small it is. A gigapixel of one colour takes a few hundred kilobytes, and is
decoded in less than a minute."""

_PASSES = {"jpeg": "progressive", "png": "interlaced"}
"""The names of files of these formats that store the image in several passes."""


class Limits(NamedTuple):
    """Limits for images.

    Parameters
    ----------
    pixels: most pixels of an image.
    pixels_per_byte: most pixels for each byte of the file, for images of more than FREE_PIXELS.
    memory: bytes that decoding and tiling may use; None if unknown, as in a worker that only downloads.
    """

    pixels: int
    pixels_per_byte: int
    memory: int | None = None


def most_pixels(source_bytes: int, pixels_per_byte: int) -> int:
    """Return the most pixels that a file of so many bytes may take: as pixels of an image, or as work."""
    return max(FREE_PIXELS, source_bytes * pixels_per_byte)


def admit(header: Header, memory: int, source_bytes: int | None, limits: Limits) -> None:
    """Raise StageError("image_too_large") if the image exceeds a limit. The message says the limit and the value.

    Parameters
    ----------
    memory: bytes that decoding and tiling need, by pipeline.formats.header.memory_of.
    source_bytes: of the whole file; None if not known yet.
    """
    size = f"{header.width:,} x {header.height:,} pixels"
    if header.pixels > limits.pixels:
        raise StageError(
            "image_too_large",
            f"The image has {size}, {header.pixels:,} in total; the limit is {limits.pixels:,} "
            "(TILEWRIGHT_MAX_PIXELS).",
        )
    if source_bytes is not None and header.pixels > most_pixels(source_bytes, limits.pixels_per_byte):
        raise StageError(
            "image_too_large",
            f"The file of {source_bytes:,} bytes unpacks to {size}, {header.pixels // max(1, source_bytes):,} for each "
            f"byte; above {FREE_PIXELS:,} pixels the limit is {limits.pixels_per_byte:,} for each byte "
            "(TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
        )
    if limits.memory is not None and memory > limits.memory:
        takes, most = map(amount, (memory, limits.memory))
        raise StageError(
            "image_too_large",
            f"{_kind(header, memory)} of {size} needs about {takes} of memory to decode; the limit is {most} "
            f"(TILEWRIGHT_DECODE_MEMORY_BYTES).{_remedy(header, memory)}",
        )


def _kind(header: Header, memory: int) -> str:
    name = IMAGES.get(header.format, header.format.upper())
    if _is_held(header, memory) and header.format in _PASSES:
        name = f"{_PASSES[header.format]} {name}"
    return f"An {name}" if name[:3] in {"AVI", "int", "SVG"} else f"A {name}"


def _remedy(header: Header, memory: int) -> str:
    if header.format == "tiff":
        return " Save it in tiles of 256 x 256 pixels."
    if not _is_held(header, memory):
        return ""
    other = {"jpeg": "a baseline JPEG", "png": "a PNG without interlacing"}.get(header.format, "a tiled TIFF")
    return f" Save it as {other}, which is decoded a few rows at a time."


def _is_held(header: Header, memory: int) -> bool:
    """Return whether the decoder holds the whole image in memory: then it needs more than a few rows do."""
    return header.format in WHOLE_MEMORY or (header.format in _PASSES and memory > decoding_memory(header))
