"""Where the rows of pixels lie in a file, and what their bytes mean."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT
from pipeline.formats.header import SAMPLE_BYTES, Header, decoding_memory, require_page


class Coding(Enum):
    """How the rows are stored."""

    PLAIN = "plain"
    BMP_RUNS_8 = "RLE8"
    BMP_RUNS_4 = "RLE4"
    TGA_RUNS = "runs"
    TEXT = "text"
    """Samples as decimal numbers."""
    BITS_AS_TEXT = "bits as text"
    """Samples as digits 0 and 1, with or without space between them."""


class Raster(NamedTuple):
    """A page of plain rows.

    Parameters
    ----------
    kind: of the file: see pipeline.formats.kinds.
    width, height: in pixels.
    offset: of the first stored byte of the pixels.
    row_bytes: of a row once its coding is undone, with its padding.
    pixel_bits: of a stored pixel, once its coding is undone. Pixels of less than 8 bits begin at the highest bit.
    sample: type of the samples, by libvips' name: "uchar", "ushort" or "float". With masks, of the whole pixel.
    bands: of the shown pixels, before colours and transparency are told apart.
    order: number of the stored band for each shown band; empty if they are in order.
    palette: colours of 8-bit samples, `bands` bytes each; empty if there is no palette.
    masks: the bits of each band within a pixel, a little-endian integer; empty if each band has its own bytes.
    most: greatest value of a sample; 0 for the greatest of the type.
    is_big_endian: the order of bytes of samples with several bytes.
    is_bottom_up, is_right_to_left: the order of rows, and of pixels in a row.
    has_alpha: whether the last band is transparency.
    is_premultiplied: whether colours are multiplied by their transparency.
    profile: offset and length of a colour profile; None if there is none.
    """

    kind: str
    width: int
    height: int
    offset: int
    row_bytes: int
    pixel_bits: int
    bands: int = 3
    sample: str = "uchar"
    coding: Coding = Coding.PLAIN
    order: tuple[int, ...] = ()
    palette: bytes = b""
    masks: tuple[int, ...] = ()
    most: int = 0
    is_big_endian: bool = False
    is_bottom_up: bool = False
    is_right_to_left: bool = False
    has_alpha: bool = False
    is_premultiplied: bool = False
    profile: tuple[int, int] | None = None

    @property
    def header(self) -> Header:
        return Header(self.kind, self.width, self.height, 1)

    @property
    def size(self) -> int:
        """Bytes of all rows once their coding is undone."""
        return self.row_bytes * self.height

    @property
    def shown_bytes(self) -> int:
        """Bytes of a shown pixel."""
        return self.bands if self.masks else self.bands * SAMPLE_BYTES[self.sample]

    @property
    def least_length(self) -> int:
        """Least length in bytes of a file whose pixels are whole."""
        if self.coding is Coding.PLAIN:
            return self.offset + self.size
        samples = self.width * self.height * self.bands
        if self.coding is Coding.BITS_AS_TEXT:
            return self.offset + samples
        return self.offset + 2 * samples - 1 if self.coding is Coding.TEXT else self.offset

    def memory(self, tile_size: int) -> int:
        """Estimate the most memory that tiling needs, in bytes. Coded rows are held as a whole."""
        held = 0 if self.coding is Coding.PLAIN else self.size
        return held + decoding_memory(self.header, samples=self.shown_bytes, tile_size=tile_size)


def require_shown(raster: Raster, page: int) -> None:
    """Raise StageError("page_not_found") if the file does not have the page, or it is not read.

    Parameters
    ----------
    page: from 0.
    """
    if page and raster.kind == "pnm":
        raise StageError(
            "page_not_found",
            f"Page {page:,} was requested, counted from 0, but of a PNM only the first image is read. Save the other "
            "one as a file of its own.",
        )
    require_page(raster.header, page)


def require_whole(raster: Raster, length: int) -> None:
    """Raise StageError("image_truncated") if a file of this length cannot contain all pixels."""
    if length < raster.least_length:
        raise StageError("image_truncated", CUT_SHORT)
