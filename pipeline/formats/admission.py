"""Whether a picture is taken, judged by its header alone: by its pixels, by what it unpacks to, by its memory. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.header import NAMES, WHOLE_MEMORY, Header, decoding_memory
from pipeline.texts import amount

FREE_PIXELS = 1 << 30
"""Pixels that any file may have, however small it is: a gigapixel of one colour is a few hundred kilobytes, and is
decoded in less than a minute."""

_PASSES = {"jpeg": "progressive", "png": "interlaced"}
"""What files of these formats are called that hold their picture in passes."""


class Limits(NamedTuple):
    """What is taken.

    Parameters
    ----------
    pixels: of the largest picture.
    pixels_per_byte: that a picture of more than FREE_PIXELS may unpack to, of each byte of its file.
    memory: bytes that decoding and tiling may take; None where nobody can tell, as in a worker that only fetches.
    """

    pixels: int
    pixels_per_byte: int
    memory: int | None = None


def admit(header: Header, memory: int, source_bytes: int | None, limits: Limits) -> None:
    """Raise StageError("image_too_large"), naming limit and value found, where the picture is not taken.

    Parameters
    ----------
    memory: bytes that decoding and tiling take, by pipeline.formats.header.memory_of.
    source_bytes: of the whole file; None where it is not known yet.
    """
    size = f"{header.width:,} x {header.height:,} pixels"
    if header.pixels > limits.pixels:
        raise StageError(
            "image_too_large",
            f"The picture has {size}, {header.pixels:,} in all; at most {limits.pixels:,} are taken here "
            "(TILEWRIGHT_MAX_PIXELS).",
        )
    if source_bytes is not None and header.pixels > max(FREE_PIXELS, source_bytes * limits.pixels_per_byte):
        raise StageError(
            "image_too_large",
            f"The file of {source_bytes:,} bytes unpacks to {size}, {header.pixels // max(1, source_bytes):,} for each "
            f"byte; above {FREE_PIXELS:,} pixels at most {limits.pixels_per_byte:,} are taken here "
            "(TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
        )
    if limits.memory is not None and memory > limits.memory:
        takes, most = map(amount, (memory, limits.memory))
        raise StageError(
            "image_too_large",
            f"{_kind(header, memory)} of {size} takes about {takes} of memory to decode; at most {most} may be used "
            f"here (TILEWRIGHT_DECODE_MEMORY_BYTES).{_remedy(header, memory)}",
        )


def _kind(header: Header, memory: int) -> str:
    name = NAMES.get(header.format, header.format.upper())
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
    """Tell whether the whole picture is in memory: then it takes more than its rows, if it takes much at all."""
    return header.format in WHOLE_MEMORY or (header.format in _PASSES and memory > decoding_memory(header))
