"""Read one plane of a page that stores several: separate planes of samples, or all images of a stack behind each other.

libvips gets a TIFF of that plane alone, so that nothing else is read.
"""

from __future__ import annotations

import struct
from array import array
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import CUT_SHORT, damaged
from pipeline.formats.header import Header, header_of, memory_of, pixel_bytes
from pipeline.formats.tiff import PLACES, Directory, Entry, Tag
from pipeline.formats.tiff.checks import require_listed
from pipeline.formats.tiff.colours import BLACK_IS_ZERO, WHITE_IS_ZERO
from pipeline.formats.tiff.layout import Layout, held_by, layout_of
from tiler.decode.readers.tiff.planes import OF_ALL
from tiler.decode.readers.tiff.reader import TiffReader
from tiler.decode.readers.tiff.virtual_tiff import SHORT


class PlaneReader(TiffReader):
    """Reads one plane of a page. Must be made when the process is confined.

    Parameters
    ----------
    path: of the file.
    page: from 0.
    sample: the plane of a page whose samples are stored apart, from 0.
    before: images that lie before the plane, where one directory stands for all images of a stack.

    Raises
    ------
    StageError: image_corrupt, image_truncated.
    """

    def __init__(self, path: Path, page: int, *, sample: int, before: int) -> None:
        super().__init__(path, page)
        try:
            with path.open("rb") as file:
                directory = self._at.directory(file, page)
                layout = layout_of(directory) if directory else None
                if directory is None or layout is None:
                    raise damaged("its directory is inconsistent")
                self._at.replace(page, _of_plane(directory, layout, sample, before))
        except struct.error as error:
            raise StageError("image_truncated", CUT_SHORT) from error

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: none, since overviews have all planes."""
        return None

    @cached_property
    def _opened(self) -> tuple[Header, int]:
        image = self._load()
        return header_of(image), pixel_bytes(image) // image.bands

    def memory(self, tile_size: int) -> int:
        """As Reader.memory: of the one plane."""
        return memory_of(self.open(), self.header(), tile_size, self._held_bytes())

    def _held_bytes(self) -> int:
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return held_by(directory, self.path.stat().st_size)
        return 0

    def _opened_otherwise(self, image: pyvips.Image, page: int, subifd: int | None) -> pyvips.Image:
        with self.path.open("rb") as file:
            directory = self._at.directory(file, page, subifd)
            if directory is None:
                raise damaged("its directory is inconsistent")
            made = self._virtual.open(directory, self._reading(page, subifd), image).copy()
        made.set_type(pyvips.GValue.gint_type, "n-pages", image.get("n-pages"))
        return made


def _of_plane(directory: Directory, layout: Layout, sample: int, before: int) -> Directory:
    """Return the directory of one plane as if it were a grey page.

    Raises
    ------
    StageError: image_corrupt.
    struct.error: if the file ends within the directory's values.
    """
    offsets, lengths = directory.listed()
    require_listed(offsets, lengths, layout)
    of_plane = layout.chunks // layout.planes
    place = slice(sample * of_plane, (sample + 1) * of_plane)
    shift = before * layout.row_bytes * layout.height
    offsets_tag, lengths_tag = PLACES[layout.tiled]
    found = directory.replaced(
        {
            offsets_tag: array("Q", (offset + shift for offset in offsets[place])),
            lengths_tag: array("Q", lengths[place]),
        }
    )
    photometric = directory.value(Tag.PHOTOMETRIC, BLACK_IS_ZERO)
    is_white = photometric == WHITE_IS_ZERO and sample == 0
    values = {
        Tag.BITS: directory.value(Tag.BITS, 1),
        Tag.SAMPLE_FORMAT: directory.value(Tag.SAMPLE_FORMAT, 1),
        Tag.PHOTOMETRIC: WHITE_IS_ZERO if is_white else BLACK_IS_ZERO,
        Tag.SAMPLES: 1,
        Tag.PLANAR: 1,
    }
    for tag in OF_ALL:
        found.entries.pop(tag, None)
    for tag, value in values.items():
        stored = struct.pack(f"{directory.order}H", value).ljust(8 if directory.big else 4, b"\0")
        found.entries[tag] = Entry(tag, SHORT, 1, stored)
    return found
