"""What a picture's header says, and what follows from it before a pixel is decoded. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.errors import StageError

UNKNOWN_PAGES = 0
"""Stands for a number of pages that only the whole file would tell."""

NAMES = {"gif": "GIF", "heif": "HEIF", "avif": "AVIF", "jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "webp": "WebP"}
"""Formats as people write them."""

BASE_MEMORY = 64 << 20
"""Bytes that a tiling takes whatever the picture: the interpreter, libvips, its threads."""

ROW_MEMORY = 16 * 256
"""Bytes for each pixel of a row: the rows of tiles that all levels hold at once. Measured with tiles of 256 pixels, for
widths from 4,000 to 64,000, from JPEG and TIFF."""

WHOLE_MEMORY = {"gif": 4, "webp": 8, "heif": 13, "avif": 13}
"""Bytes a pixel, measured, of formats whose decoders hold the whole picture."""

INTERLACED_MEMORY = {"jpeg": 2, "png": 1}
"""Bytes a sample, likewise, where such a file holds the picture in passes: coefficients, or 8-bit samples."""


class Header(NamedTuple):
    """What a source's header says, before any pixel is decoded.

    Parameters
    ----------
    format: "jpeg", "png", "tiff", "webp", "heif", "avif", "gif" or "svg".
    width, height: of the page that is tiled, in pixels, as stored: before an orientation is applied.
    pages: of the file, 1 for most; UNKNOWN_PAGES where only the whole file would tell.
    """

    format: str
    width: int
    height: int
    pages: int

    def require_at_most(self, pixels: int) -> None:
        """Raise StageError("image_too_large") where the page has more."""
        if self.width * self.height > pixels:
            raise StageError(
                "image_too_large",
                f"The picture has {self.width} x {self.height} pixels; at most {pixels} are taken here.",
            )


def header_of(image: Any) -> Header:
    """Give the header of an opened pyvips.Image."""
    name = str(image.get("vips-loader")).removesuffix("_source").removesuffix("load")
    if name == "heif" and image.get_typeof("heif-compression") and image.get("heif-compression") == "av1":
        name = "avif"
    pages = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    return Header(name, image.width, image.height, pages)


def is_interlaced(image: Any) -> bool:
    """Tell whether an opened pyvips.Image holds its picture in passes: a progressive JPEG, an interlaced PNG."""
    return bool(image.get_typeof("interlaced") and image.get("interlaced"))


def decoding_memory(header: Header, *, samples: int = 3, sample_bytes: int = 1, interlaced: bool = False) -> int:
    """Estimate the bytes that tiling a picture takes at most.

    Parameters
    ----------
    samples: of a pixel.
    sample_bytes: of a sample.
    interlaced: see is_interlaced.
    """
    each = WHOLE_MEMORY.get(header.format, 0)
    if interlaced:
        each = INTERLACED_MEMORY.get(header.format, 0) * samples * sample_bytes
    return BASE_MEMORY + header.width * ROW_MEMORY + header.width * header.height * each


def require_page(header: Header, page: int) -> None:
    """Raise StageError("page_not_found") where the file has not got a page, counted from 0."""
    if page < header.pages or header.pages == UNKNOWN_PAGES:
        return
    kind = NAMES.get(header.format, header.format)
    has = "one page" if header.pages == 1 else f"{header.pages} pages"
    raise StageError("page_not_found", f"Page {page} was asked for, counted from 0, and this {kind} has {has}.")
