"""Estimate from a file's header the work to tile it, and limit that work by the file's size. Pure functions.

Work is counted in pixels that are decoded and tiled. Other work of a decoder, such as the frames before the requested
one, is converted to a number of pixels. docs/sandbox.md has the formula.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats import frames
from pipeline.formats.admission import FREE_PIXELS, most_pixels
from pipeline.formats.header import Header
from pipeline.formats.tiff import File
from pipeline.pyramids import DEFAULT_TILE_SIZE, Format, Geometry
from pipeline.source_formats import IMAGES
from pipeline.texts import amount

PLAIN_BYTES = 8
"""Bytes of a pixel with four samples of 16 bits. A pixel with more bytes, such as one of 64 bands, counts as more work
in proportion: a gigapixel takes two seconds for each band, and a file of equal bytes may be tiny."""

TILE_PIXELS = 1 << 15
"""Least work of a tile, however little of the image it shows: half of the pixels of a full tile. Measured: 0.2 ms,
including its padded edge tile."""

CANVAS_SHARE = 8
"""For each frame of a GIF, this many pixels of the canvas count as one pixel of work, since the canvas is saved and
restored by copying. Measured: 0.5 to 1 ns a pixel, while decoding and tiling take 5 to 13."""

FREE_SECONDS = 15
"""CPU seconds that any file may use, however small it is. A tiny image takes a tenth of a second, and 2²⁸ pixels of one
colour take 2 (JPEG tiles) to 11 (WebP tiles with transparency)."""

PIXEL_SECONDS = {Format.JPEG: 20e-9, Format.PNG: 40e-9, Format.WEBP: 50e-9}
"""Further seconds for each pixel of work, by the format of the tiles: enough for an image of one colour. Measured: 7,
12 and 30 ns, with transparency 10, 18 and 41. With FREE_SECONDS, a gigapixel of one colour has twice the time measured
without transparency, so that a machine of half the speed manages. An image with detail takes longer, but also has
more bytes."""

BYTE_SECONDS = 50e-6
"""Further seconds for each byte of the file, for its detail: ten times the most measured (4.3 µs, for an AVIF of noise
with WebP tiles)."""

MOST_PIXEL_SECONDS = 2e-6
"""Most seconds of both together for each pixel of work: five times the most measured, whatever the image (0.4 µs)."""

FREE_STORED, MOST_STORED = 64 << 20, 4
"""Bytes of strips or tiles that any TIFF may list, and that it may list for each byte of its file. They may exceed the
file, since some programs store equal tiles once; those tiles are blank and small."""

FREE_PAGES, PAGE_BYTES = 16, 2048
"""Pages of any file that may be shown together, and bytes for each further one. A page of printed text has more bytes,
also as G4. A file of 64 kB may so take 16 seconds, about as much as one image of it."""

FREE_SPOOLED, MOST_SPOOLED = 1 << 30, 1024
"""Bytes of pixels that any file may need on disk to be turned upright, and that it may need for each of its bytes."""

MOST_FRAMES = 10_000
"""Most frames of an animated WebP: more than five minutes at 30 frames a second. Listing them takes a tenth of a
second."""


class Work(NamedTuple):
    """The work to tile a page, in pixels.

    Parameters
    ----------
    picture: for the page itself: its pixels, or more if a pixel has many bytes, or the least work of its tiles if that
        is more, as in a very thin image.
    before: for other pixels that have to be decoded: the frames before the page, and hidden parts of a HEIF.
    frames: the number of those frames or parts.
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
    """Estimate the work to tile a page of a file.

    Parameters
    ----------
    file: the file; None if its frames cannot be read.
    page: from 0.
    pixel_bytes: of the decoded page, by pipeline.formats.header.pixel_bytes; 0 if unknown.
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
    """Raise StageError("decoder_too_slow") if a file needs far more work than ordinary files of its length.

    Parameters
    ----------
    source_bytes: of the whole file; None if not known yet.
    pixels_per_byte: see pipeline.formats.admission.Limits.
    """
    if source_bytes is None or work.pixels <= most_pixels(source_bytes, pixels_per_byte):
        return
    size = f"{header.width:,} x {header.height:,} pixels"
    why = f"decoding {size} and cutting them into tiles takes"
    if work.before > work.picture:
        why = f"the {work.frames:,} frames before the page, on a canvas of {size}, take"
        if header.format not in frames.OF:
            why = f"the {work.frames:,} pictures that its {size} are assembled from take"
    kind = IMAGES.get(header.format, header.format.upper())
    raise StageError(
        "decoder_too_slow",
        f"The {kind} has {source_bytes:,} bytes, but {why} the work of {work.pixels:,} pixels; above {FREE_PIXELS:,} "
        f"pixels the limit is {pixels_per_byte:,} for each byte (TILEWRIGHT_MAX_PIXELS_PER_BYTE).",
    )


def require_few_frames(kind: str, file: File) -> None:
    """Raise StageError("decoder_too_slow") if an animated WebP has more than MOST_FRAMES frames.

    libwebp's time to open a file grows with the square of the number of frames, whichever frame is requested: 60,000
    frames of a pixel or two took 13 seconds.

    Parameters
    ----------
    kind: of the file, by pipeline.formats.kinds.
    """
    if kind == "webp" and next(islice(frames.of_webp(file), MOST_FRAMES, None), None):
        raise StageError(
            "decoder_too_slow",
            f"The WebP has more than {MOST_FRAMES:,} frames, too many for its decoder to list. Save the frame that you "
            "want as its own file.",
        )


def require_stored_once(stored: int, source_bytes: int) -> None:
    """Raise StageError("decoder_too_slow") if a TIFF lists the same bytes again and again as strips or tiles.

    Parameters
    ----------
    stored: bytes of all strips or tiles that the page lists.
    """
    if stored > max(FREE_STORED, source_bytes * MOST_STORED):
        raise StageError(
            "decoder_too_slow",
            f"The TIFF has {amount(source_bytes)}, but lists strips or tiles of {amount(stored)} in total: it lists "
            "the same bytes again and again. Save it again.",
        )


def work_of_pyramid(width: int, height: int, tile_count: int) -> int:
    """Return the work that it was to tile an image, in pixels."""
    return max(width * height, tile_count * TILE_PIXELS)


def require_few_pages(pages: int, source_bytes: int) -> None:
    """Raise StageError("too_many_pages") if a small file has many pages that are to be shown together.

    Each page takes a child process, a third of a second however small it is.
    """
    most = FREE_PAGES + source_bytes // PAGE_BYTES
    if pages > most:
        raise StageError(
            "too_many_pages",
            f"The file has {source_bytes:,} bytes and {pages:,} pages; all pages of a file of this size are shown "
            f"together up to {most:,}: {FREE_PAGES} pages, and one more for each {PAGE_BYTES:,} bytes. Submit the "
            "pages that you want one by one, with `page`.",
        )


def require_affordable_together(pixels: int, source_bytes: int, pixels_per_byte: int) -> None:
    """Raise StageError("decoder_too_slow") if the pages of a file so far exceed the work that one image of it may take.

    Parameters
    ----------
    pixels: the work of all pages so far: see Work.
    """
    if pixels > most_pixels(source_bytes, pixels_per_byte):
        raise StageError(
            "decoder_too_slow",
            f"The file has {source_bytes:,} bytes, but its pages up to this one take the work of {pixels:,} pixels; "
            f"above {FREE_PIXELS:,} pixels the limit is {pixels_per_byte:,} for each byte "
            "(TILEWRIGHT_MAX_PIXELS_PER_BYTE). Submit the pages that you want one by one, with `page`.",
        )


def require_small_spool(spooled: int, source_bytes: int) -> None:
    """Raise StageError("image_too_large") if a small file needs gigabytes of disk to be turned upright.

    Parameters
    ----------
    spooled: bytes of its decoded pixels.
    """
    if spooled > max(FREE_SPOOLED, source_bytes * MOST_SPOOLED):
        raise StageError(
            "image_too_large",
            f"Turning the image upright needs {amount(spooled)} of disk, but its file has only {source_bytes:,} "
            f"bytes; above {amount(FREE_SPOOLED)} the limit is {MOST_SPOOLED:,} for each byte. Save it upright.",
        )


def header_seconds(source_bytes: int) -> int:
    """Return the CPU seconds after which the opening of a file is stopped. Its tables may fill the whole file."""
    return int(FREE_SECONDS + source_bytes * BYTE_SECONDS)


def seconds(work: int, source_bytes: int, tile_format: Format) -> int:
    """Return the CPU seconds, of all threads together, after which a decoder is stopped.

    Parameters
    ----------
    work: in pixels.
    """
    by_detail = work * PIXEL_SECONDS[tile_format] + source_bytes * BYTE_SECONDS
    return int(FREE_SECONDS + min(by_detail, work * MOST_PIXEL_SECONDS))
