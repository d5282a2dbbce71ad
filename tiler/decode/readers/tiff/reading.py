"""How libvips reads a page, by its directory."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.colours import Ycbcr, is_lab_of_bytes, is_reversed, ycbcr_of
from pipeline.formats.tiff.layout import Compression, is_coarse, is_recoded, is_split
from pipeline.formats.tiff.nodata import nodata_of
from pipeline.formats.tiff.samples import is_unpacked
from tiler.decode.readers.tiff.left_out import LeftOut, left_out_of
from tiler.decode.readers.tiff.premultiplied import divided_by

TILED = "warning"
"""`fail_on` of a tiled TIFF. With a weaker setting libvips would accept tiles that libtiff could not decode. Warnings
of libtiff alone do not make a tiled TIFF fail."""


class Reading(NamedTuple):
    """How libvips reads a page.

    Parameters
    ----------
    is_quiet: whether libvips does not fail on damage, and reports it in its error buffer only.
    coded: how to convert the YCbCr that libvips returns to RGB; None if it returns no YCbCr.
    lab: the photometric interpretation of CIELAB that libvips is shown as RGB.
    is_reversed: whether the greatest samples are black.
    left_out: strips or tiles that the page leaves out.
    alpha: the band that colours are divided by, where libvips divides them wrongly.
    nodata: the stored value of samples that are missing.
    """

    is_tiled: bool = False
    is_recoded: bool = False
    is_unpacked: bool = False
    is_split: bool = False
    is_quiet: bool = False
    coded: Ycbcr | None = None
    lab: int | None = None
    is_reversed: bool = False
    left_out: LeftOut | None = None
    nodata: float | None = None
    alpha: int | None = None

    @property
    def is_opened_otherwise(self) -> bool:
        """Whether libvips cannot read the page as it lies in the file."""
        is_shown = self.left_out is None and self.alpha is None and self.lab is None
        return self.is_recoded or self.is_split or not is_shown


def reading_of(directory: Directory) -> Reading:
    """Return how libvips reads the page of a directory.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    tiled, recoded = Tag.TILE_WIDTH in directory.entries, is_recoded(directory)
    jpeg = directory.value(Tag.COMPRESSION, Compression.NONE) == Compression.JPEG
    coarse = is_coarse(directory) and not jpeg
    return Reading(
        is_tiled=tiled,
        is_recoded=recoded,
        is_unpacked=is_unpacked(directory),
        is_split=is_split(directory),
        is_quiet=not recoded and (coarse or (jpeg and tiled)),
        coded=ycbcr_of(directory),
        lab=directory.value(Tag.PHOTOMETRIC, 0) if is_lab_of_bytes(directory) else None,
        is_reversed=is_reversed(directory),
        left_out=left_out_of(directory),
        nodata=nodata_of(directory),
        alpha=divided_by(directory),
    )


def settings_for(reading: Reading, settings: dict[str, str | bool]) -> dict[str, str | bool]:
    """Return the options of libvips' loader for a page.

    Parameters
    ----------
    settings: for any format.
    """
    tiled: dict[str, str | bool] = {"fail_on": TILED} if reading.is_tiled else {}
    # pipeline.formats.tiff.layout checks the needed memory before. libtiff would refuse 50 MB, however much there is.
    return settings | tiled | {"unlimited": True}
