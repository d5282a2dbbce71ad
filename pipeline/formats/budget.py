"""What a file asks for, reckoned by what its header lists, and what it may cost. Pure.

Work is counted in pixels that are decoded and tiled, since those are what an honest file asks for: what a decoder does
besides, such as a frame before the one that is wanted, counts as so many pixels. docs/sandbox.md has the formula.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats import frames
from pipeline.formats.admission import FREE_PIXELS
from pipeline.formats.header import NAMES, Header
from pipeline.formats.tiff import File
from pipeline.pyramids import DEFAULT_TILE_SIZE, Format, Geometry
from pipeline.texts import amount

PLAIN_BYTES = 8
"""Of a pixel: four samples of 16 bits. One of more, such as of 64 bands, is so much more work: a gigapixel takes two
seconds for each of its bands, and bytes that are all alike are read from next to none."""

TILE_PIXELS = 1 << 15
"""Work of a tile, however little of the picture it holds: half of what a full one has. Measured: 0.2 ms, with the map's
own tile beside it."""

CANVAS_SHARE = 8
"""Pixels of its canvas, for each frame of a GIF, that are a pixel's work: a canvas is kept and restored by copying.
Measured: 0.5 to 1 ns a pixel, where decoding and tiling take 5 to 13."""

FREE_SECONDS = 15
"""Of work that any file may take, however small it is: an honest one of no size takes a tenth of a second, and
2²⁸ pixels of one colour take 2 (tiles as JPEG) to 11 (as WebP with transparency)."""

PIXEL_SECONDS = {Format.JPEG: 20e-9, Format.PNG: 40e-9, Format.WEBP: 50e-9}
"""Besides, for each pixel of work, by the tiles' format: what a picture of one colour takes. Measured, 7, 12 and 30 ns,
and with transparency 10, 18 and 41; what is free besides makes it twice the former for a gigapixel of one colour, so
that a machine of half the speed has time for it. More than that is detail, which takes bytes."""

BYTE_SECONDS = 50e-6
"""Besides, for each byte of the file, which stands for detail: ten times what one takes at most (4.3 µs, in an AVIF of
noise with tiles as WebP)."""

MOST_PIXEL_SECONDS = 2e-6
"""Of both together, for each pixel of work: what an honest one takes, whatever it holds (0.4 µs), five times."""

FREE_STORED, MOST_STORED = 64 << 20, 4
"""Bytes of its strips and tiles that a TIFF may list in any case, and for each byte of its file: some programs store
tiles that are alike once, and blank ones are small."""

FREE_SPOOLED, MOST_SPOOLED = 1 << 30, 1024
"""Bytes of pixels that may be spooled to disk in order to be turned, in any case and for each byte of the file."""

MOST_FRAMES = 10_000
"""Of an animated WebP: more than five minutes at 30 a second. As many are listed in a tenth of a second."""


class Work(NamedTuple):
    """What a file asks for, in pixels.

    Parameters
    ----------
    picture: for the page itself: its pixels, more of them where each has many bytes, or its tiles where it is so thin
        that they are more.
    before: for what else is decoded for it: the frames before it, and what of a HEIF's parts is not shown.
    frames: how many frames, or parts, these are.
    """

    picture: int
    before: int = 0
    frames: int = 0

    @property
    def pixels(self) -> int:
        return self.picture + self.before


def work_of(
    header: Header, file: File | None, page: int, *, tile_size: int = DEFAULT_TILE_SIZE, pixel_bytes: int = 0
) -> Work:
    """Reckon what a page of a file takes.

    Parameters
    ----------
    file: the file; None where its frames cannot be read.
    page: from 0.
    pixel_bytes: of the page as it is decoded, by pipeline.formats.header.pixel_bytes; 0 where nobody knows.
    """
    tiles = Geometry(header.width, header.height, tile_size).tile_count
    decoded = header.pixels * max(PLAIN_BYTES, pixel_bytes) // PLAIN_BYTES
    picture = max(decoded, tiles * min(TILE_PIXELS, tile_size**2 // 2))
    if file is None or header.format not in frames.OF:
        return Work(picture)
    canvas = header.pixels // CANVAS_SHARE if header.format == "gif" else 0
    before = [frame.pixels + canvas for frame in islice(frames.OF[header.format](file), page)]
    return Work(picture, sum(before), len(before))


def require_affordable(header: Header, work: Work, source_bytes: int | None, pixels_per_byte: int) -> None:
    """Raise StageError("decoder_too_slow") where a file asks for far more than honest ones of its length do.

    Parameters
    ----------
    source_bytes: of the whole file; None where it is not known yet.
    pixels_per_byte: see pipeline.formats.admission.Limits.
    """
    if source_bytes is None or work.pixels <= max(FREE_PIXELS, source_bytes * pixels_per_byte):
        return
    size = f"{header.width:,} x {header.height:,} pixels"
    why = f"decoding {size} and cutting them into tiles takes"
    if work.before > work.picture:
        why = f"the {work.frames:,} frames before the page, on a canvas of {size}, take"
        if header.format not in frames.OF:
            why = f"the {work.frames:,} pictures that its {size} are put together from take"
    kind = NAMES.get(header.format, header.format.upper())
    raise StageError(
        "decoder_too_slow",
        f"The {kind} has {source_bytes:,} bytes, and {why} the work of {work.pixels:,} pixels; above {FREE_PIXELS:,}, "
        f"at most {pixels_per_byte:,} for each byte are taken here (TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
    )


def require_few_frames(kind: str, file: File) -> None:
    """Raise StageError("decoder_too_slow") where an animated WebP has more than MOST_FRAMES frames.

    Opening it takes libwebp time by their square, whichever is asked for: 60,000 of a pixel or two took 13 seconds.

    Parameters
    ----------
    kind: of the file, by pipeline.formats.kinds.
    """
    if kind == "webp" and next(islice(frames.of_webp(file), MOST_FRAMES, None), None):
        raise StageError(
            "decoder_too_slow",
            f"The WebP has more than {MOST_FRAMES:,} frames, too many for its decoder to list. Save the one that "
            "is wanted.",
        )


def require_stored_once(stored: int, source_bytes: int) -> None:
    """Raise StageError("decoder_too_slow") where a TIFF lists the same bytes as its strips or tiles again and again.

    Parameters
    ----------
    stored: bytes of all strips or tiles that its page lists.
    """
    if stored > max(FREE_STORED, source_bytes * MOST_STORED):
        raise StageError(
            "decoder_too_slow",
            f"The TIFF has {amount(source_bytes)}, and its strips or tiles are said to have {amount(stored)} together: "
            "it lists the same bytes again and again. Save it again.",
        )


def require_small_spool(spooled: int, source_bytes: int) -> None:
    """Raise StageError("image_too_large") where a small file has to be spooled to gigabytes in order to be turned.

    Parameters
    ----------
    spooled: bytes of its decoded pixels.
    """
    if spooled > max(FREE_SPOOLED, source_bytes * MOST_SPOOLED):
        raise StageError(
            "image_too_large",
            f"Turning the picture upright takes {amount(spooled)} of disk, and its file has {source_bytes:,} bytes; "
            f"above {amount(FREE_SPOOLED)}, at most {MOST_SPOOLED:,} for each byte are taken here. Save it upright.",
        )


def header_seconds(source_bytes: int) -> int:
    """Give the seconds of work after which opening a file is stopped: its tables may be as long as it is."""
    return int(FREE_SECONDS + source_bytes * BYTE_SECONDS)


def seconds(work: int, source_bytes: int, tile_format: Format) -> int:
    """Give the seconds of work, of all threads together, after which a decoder is stopped.

    Parameters
    ----------
    work: in pixels.
    """
    by_detail = work * PIXEL_SECONDS[tile_format] + source_bytes * BYTE_SECONDS
    return int(FREE_SECONDS + min(by_detail, work * MOST_PIXEL_SECONDS))
