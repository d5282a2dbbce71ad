"""Open pages and masks by way of TIFFs that libvips can read: recoded, plane by plane, or with other tags."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyvips

from pipeline.formats.tiff import Directory, Tag
from pipeline.formats.tiff.colours import BLACK_IS_ZERO
from pipeline.formats.tiff.layout import PALETTE
from tiler.decode.readers.tiff.hidden import blank_like, painted
from tiler.decode.readers.tiff.lab import as_rgb
from tiler.decode.readers.tiff.left_out import LeftOut
from tiler.decode.readers.tiff.premultiplied import straight, unmarked
from tiler.decode.readers.tiff.reading import Reading, reading_of, settings_for
from tiler.decode.readers.tiff.rewritten import rewritten

if TYPE_CHECKING:
    from tiler.decode.readers.tiff.virtual_tiff import VirtualTiff


class VirtualPages:
    """Opens the pages of one file.

    Attributes
    ----------
    made: all TIFFs that were made. They live as long as this object, since libvips reads them later.

    Parameters
    ----------
    path: of the file.
    settings: returns the options of libvips' loader for any format.
    """

    def __init__(self, path: Path, settings: Callable[[], dict[str, str | bool]]) -> None:
        self.made: list[VirtualTiff] = []
        self._path = path
        self._settings = settings

    def open(self, directory: Directory, reading: Reading, header: pyvips.Image) -> pyvips.Image:
        """Open a page. What it leaves out has any samples.

        Parameters
        ----------
        directory: of the page.
        reading: of the page.
        header: the page as libvips opened it, of which only the header is right.

        Raises
        ------
        StageError: image_corrupt, image_truncated, unsupported_format.
        struct.error: if the file ends within the directory's values.
        pyvips.Error: if libvips cannot open it.
        """
        left_out = reading.left_out
        if left_out is None:
            return self._made_of(directory, reading)
        if left_out.is_all and reading.is_unpacked and directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO) == PALETTE:
            # libvips opened the page as if it were grey.
            header = header.bandjoin([0, 0]).copy(interpretation="srgb")
        return blank_like(header) if left_out.is_all else self._around(directory, reading, left_out)

    def open_mask(self, mask: Directory) -> pyvips.Image:
        """Open a mask as an image of one band, which is 0 where its page is not shown; raises as `open`."""
        directory = as_grey(mask)
        reading = reading_of(directory)
        left_out = reading.left_out
        if left_out is None:
            return self._made_of(directory, reading)
        if left_out.is_all:
            return pyvips.Image.black(left_out.layout.width, left_out.layout.height)
        return painted(self._around(directory, reading, left_out), left_out, (0.0,))

    def _around(self, directory: Directory, reading: Reading, left_out: LeftOut) -> pyvips.Image:
        made = self._made_of(left_out.filled(directory), reading)
        return made.embed(0, left_out.strips.start * left_out.layout.rows, made.width, left_out.layout.height)

    def _made_of(self, directory: Directory, reading: Reading) -> pyvips.Image:
        settings = settings_for(reading, self._settings())
        directory = directory if reading.lab is None else as_rgb(directory)
        if reading.is_unpacked:
            from tiler.decode.readers.tiff import unpacked  # noqa: PLC0415  only some pages need it

            image, made = unpacked.opened(self._path, directory, settings)
            self.made += made
            return image if reading.alpha is None else unpacked.limited(straight(image, reading.alpha), directory)
        if reading.is_split:
            from tiler.decode.readers.tiff import planes  # noqa: PLC0415  only some pages need it

            image, opened = planes.opened(self._path, directory, settings)
            self.made += opened
            return image
        directory = directory if reading.alpha is None else unmarked(directory)
        if reading.is_recoded:
            from tiler.decode.readers.tiff.recoded import Recoded  # noqa: PLC0415  only some pages need it

            self.made.append(Recoded(self._path, directory))
        else:
            self.made.append(rewritten(self._path, directory))
        image = pyvips.Image.new_from_source(self.made[-1].source(), "", **settings)
        return image if reading.alpha is None else straight(image, reading.alpha)


def as_grey(mask: Directory) -> Directory:
    """Return the directory of a mask as if it were one of a grey page."""
    return mask.replaced({Tag.PHOTOMETRIC: array("Q", [BLACK_IS_ZERO])})
