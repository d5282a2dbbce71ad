"""The header of an image, and the memory estimated from it before a pixel is decoded. Pure functions."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.errors import StageError
from pipeline.pyramids import DEFAULT_TILE_SIZE
from pipeline.source_formats import IMAGES

_PRIMARY = "heif-primary"
"""libvips' name for the number of a HEIF's primary page."""

UNKNOWN_PAGES = 0
"""Stands for an unknown number of pages: only the whole file would show it."""

LAST_PAGE = 100_000
"""Number of the last page that libvips opens, from 0. It would show the first one instead of a later one."""

MOST_CHANNELS = 100
"""Most channels of a stack that are listed one by one."""

BASE_MEMORY = 64 << 20
"""Bytes that any tiling needs: the interpreter, libvips, its threads."""

ROW_MEMORY = 16
"""Bytes for each pixel of a row of tiles, including the rows that all other levels hold at once. Measured with tiles of
256 pixels and widths from 4,000 to 64,000, from JPEG and TIFF."""

SOURCE_ROWS = 600
"""Rows of the source held in addition, if a pixel has more than COMMON_BYTES: measured with 200 bands."""

COMMON_BYTES = 4
"""Bytes of a pixel that are already covered by ROW_MEMORY."""

WHOLE_MEMORY = {"gif": 5, "webp": 8, "heif": 15, "avif": 15}
"""Bytes for each pixel, measured, for formats whose decoders hold the whole image."""

SUBSAMPLED = {"4:2:0": 1.5, "4:2:2": 2.0}
"""Samples per pixel of a JPEG with subsampled colours, by libvips' name of the subsampling."""

SAMPLE_BYTES = {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "uint": 4, "int": 4, "float": 4}
"""Bytes of a sample by libvips' name of its type; all other types have 8."""

INTERLACED_MEMORY = {"jpeg": 2, "png": 1}
"""Bytes for each sample, measured, of files that store the image in passes: coefficients for JPEG, samples for PNG."""


class Header(NamedTuple):
    """The header of a source, known before any pixel is decoded.

    Parameters
    ----------
    format: "jpeg", "png", "tiff", "webp", "heif", "avif", "gif", "svg", "bmp", "pnm" or "tga".
    width, height: of the page that is tiled, in pixels, as stored: before an orientation is applied.
    pages: number of pages, 1 for most files; UNKNOWN_PAGES if only the whole file would show it.
    """

    format: str
    width: int
    height: int
    pages: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


class StackHeader(NamedTuple):
    """What a file says about the stack of channels that a page belongs to.

    Parameters
    ----------
    names, colours: of the first MOST_CHANNELS channels; each may be empty. A colour is like "#00ff00".
    channels, z, t: the number of channels, and of planes in depth and in time; all 0 if nothing is said.
    z_step, t_step: distance of two planes with its unit, such as "0.5 µm"; may be empty.
    z_labels, t_labels: positions or names of the planes, of at most MOST_CHANNELS; none if they are not stated.
    """

    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    channels: int = 0
    z: int = 0
    t: int = 0
    z_step: str = ""
    t_step: str = ""
    z_labels: tuple[str, ...] = ()
    t_labels: tuple[str, ...] = ()


NO_STACK = StackHeader()


def header_of(image: Any) -> Header:
    """Return the header of an opened pyvips.Image."""
    name = str(image.get("vips-loader")).removesuffix("_source").removesuffix("load")
    if name == "heif" and image.get_typeof("heif-compression") and image.get("heif-compression") == "av1":
        name = "avif"
    pages = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    return Header(name, image.width, image.height, pages)


def is_interlaced(image: Any) -> bool:
    """Return whether the file of a pyvips.Image stores it in passes: a progressive JPEG, an interlaced PNG."""
    return any(image.get_typeof(name) and image.get(name) for name in ("interlaced", "jpeg-multiscan"))


def pixel_bytes(image: Any) -> int:
    """Return the bytes of a decoded pixel of an opened pyvips.Image, in all its bands."""
    return int(image.bands) * SAMPLE_BYTES.get(image.format, 8)


def memory_of(image: Any, header: Header, tile_size: int = DEFAULT_TILE_SIZE, held: int = 0) -> int:
    """Estimate as `decoding_memory`, from the properties of an opened pyvips.Image.

    Parameters
    ----------
    held: further bytes for the strips or tiles of a TIFF, by pipeline.formats.tiff.layout.held_bytes.
    """
    coarse = image.get("jpeg-chroma-subsample") if image.get_typeof("jpeg-chroma-subsample") else ""
    return held + decoding_memory(
        header,
        samples=SUBSAMPLED.get(coarse, image.bands),
        sample_bytes=SAMPLE_BYTES.get(image.format, 8),
        interlaced=is_interlaced(image),
        tile_size=tile_size,
    )


def decoding_memory(
    header: Header,
    *,
    samples: float = 3,
    sample_bytes: int = 1,
    interlaced: bool = False,
    tile_size: int = DEFAULT_TILE_SIZE,
) -> int:
    """Estimate the most memory that tiling an image needs, in bytes, not counting mapped pages of its file.

    Parameters
    ----------
    samples: samples of a pixel.
    sample_bytes: bytes of a sample.
    interlaced: see `is_interlaced`.
    """
    each: float = WHOLE_MEMORY.get(header.format, 0) * sample_bytes
    if interlaced:
        each = INTERLACED_MEMORY.get(header.format, 0) * samples * sample_bytes
    beyond = max(0.0, samples * sample_bytes - COMMON_BYTES)
    rows = header.width * (min(tile_size, header.height) * ROW_MEMORY + min(SOURCE_ROWS, header.height) * beyond)
    return int(BASE_MEMORY + rows + header.pixels * each)


def page_of_decoder(image: Any, page: int) -> int:
    """Return the number that libvips and pi-heif give to a page.

    In Tilewright page 0 of a HEIF is the primary one, and the others follow in the order of the file. The decoders
    count all of them in the order of the file.

    Parameters
    ----------
    image: any page of the file, by libvips.
    """
    primary = int(image.get(_PRIMARY)) if image.get_typeof(_PRIMARY) else 0
    return primary if page == 0 else page - 1 if page <= primary else page


def require_page(header: Header, page: int) -> None:
    """Raise StageError("page_not_found") if the file does not have the page, or libvips cannot open it.

    Pages count from 0.
    """
    if page > LAST_PAGE:
        raise StageError(
            "page_not_found",
            f"Page {page:,} was requested, counted from 0, but pages behind {LAST_PAGE:,} cannot be read. Save it as a "
            "file of its own.",
        )
    if page < header.pages or header.pages == UNKNOWN_PAGES:
        return
    kind = IMAGES.get(header.format, header.format)
    has = "one page" if header.pages == 1 else f"{header.pages} pages"
    raise StageError("page_not_found", f"Page {page} was requested, counted from 0, but this {kind} has {has}.")
