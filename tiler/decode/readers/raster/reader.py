"""Read files of plain rows of pixels by mapping the file, or undo their coding in memory first.

libvips' own readers of these formats are not trusted with files from strangers, and hold the whole image. Here libvips
only computes with bytes that this module checked to be there.
"""

from __future__ import annotations

import mmap
from functools import cached_property
from typing import ClassVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.formats.kinds import HEAD
from pipeline.formats.rasters import KINDS, Coding, Raster, alpha_meant, parse, require_shown, require_whole
from pipeline.formats.signatures import image_kind
from tiler.decode.metadata import PROFILE
from tiler.decode.missing import Warned, only_rows, rows_missing
from tiler.decode.reader import Reader
from tiler.decode.readers.raster.pixels import image_of
from tiler.decode.readers.raster.runs import Decoded, decoded

MOST_WIDE = 0xFFFF
"""Greatest 16-bit sample."""

MOST_PROFILE = 32 << 20
"""Most bytes of a colour profile; a large one has a few megabytes."""


class RasterReader(Reader):
    """Reads a BMP, PNM, PAM or TGA. Only damage to its header or its coding can be detected: it has no checksums."""

    KINDS: ClassVar[frozenset[str]] = KINDS
    _rows: range | None = None

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open."""
        require_shown(self._raster, options.get("page", self.page))
        raster, rows, self.notes = self._raster, self._stored_rows, []
        image = image_of(raster, rows)
        if profile := self._profile():
            image = image.copy()
            image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
        return image if self._rows is None else only_rows(image, self._rows)

    def memory(self, tile_size: int) -> int:
        """As Reader.memory."""
        return self._raster.memory(tile_size)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: finds out whether all rows are there."""
        _ = self._stored_rows

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the rows that a cut file still has."""
        raster = self._raster
        if raster.coding is not Coding.PLAIN:
            return False
        left = max(0, self.path.stat().st_size - raster.offset) // raster.row_bytes
        if not 0 < left < raster.height:
            return False
        self._rows = range(raster.height - left, raster.height) if raster.is_bottom_up else range(left)
        self.missing = rows_missing(self._rows, raster.width, raster.height, reason)
        return True

    def remarks(self) -> list[Warned]:
        """As Reader.remarks, with the images that follow the one that is shown."""
        return [*self._others(), *super().remarks()]

    def _others(self) -> list[Warned]:
        if self.kind != "pnm" or self._rows is not None or image_kind(self._behind) != "pnm":
            return []
        return [Warned("page_chosen", "The PNM has several images. The first is shown, since only that one is read.")]

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by."""
        return frozenset({PROFILE}) if self._raster.profile else frozenset()

    def is_transparency(self, bands: int) -> bool:
        """As Reader.is_transparency."""
        return self._raster.has_alpha

    @property
    def states_colours(self) -> bool:
        """As Reader.states_colours: whether the header says which of its 16-bit samples is white."""
        return super().states_colours or (self._states_white and self._raster.has_alpha)

    def stated_range(self) -> tuple[float, float] | None:
        """As Reader.stated_range."""
        raster = self._raster
        return (0.0, float(raster.most)) if self._states_white and not raster.has_alpha else None

    @property
    def _states_white(self) -> bool:
        """Whether the greatest sample in the header is another than that of the type, which any program writes."""
        return self._raster.sample == "ushort" and self._raster.most not in {0, MOST_WIDE}

    @cached_property
    def _opened(self) -> tuple[Header, int]:
        require_shown(self._raster, self.page)
        return self._raster.header, self._raster.shown_bytes

    @cached_property
    def _raster(self) -> Raster:
        with self.path.open("rb") as file:
            raster = parse(self.kind, file)
            return alpha_meant(file, raster, self.path.stat().st_size) if self.kind == "tga" else raster

    @cached_property
    def _mapped(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    @property
    def _stored_rows(self) -> memoryview:
        """The bytes of all rows once their coding is undone; in a cut file, of those that it has."""
        if self._raster.coding is not Coding.PLAIN:
            return memoryview(self._decoded.rows).cast("B")
        if self._rows is None:
            require_whole(self._raster, len(self._mapped))
            return memoryview(self._mapped)[self._raster.offset :][: self._raster.size]
        return memoryview(self._mapped)[self._raster.offset :][: len(self._rows) * self._raster.row_bytes]

    @cached_property
    def _decoded(self) -> Decoded:
        """The rows whose coding is undone. Cached, since a page may be opened several times."""
        require_whole(self._raster, len(self._mapped))
        return decoded(self._raster, self._mapped)

    @property
    def _behind(self) -> bytes:
        """The first bytes behind the image."""
        raster = self._raster
        if raster.coding is Coding.PLAIN:
            return self._mapped[raster.offset + raster.size :][:HEAD]
        return self._decoded.behind

    def _profile(self) -> bytes:
        """Return the colour profile; as much of it as there is."""
        if not self._raster.profile:
            return b""
        at, length = self._raster.profile
        if length > MOST_PROFILE:
            raise StageError("image_too_large", f"The colour profile has {length:,} bytes, more than any is read of.")
        return bytes(self._mapped[at : at + length])
