"""A TIFF as libtiff reads it by way of libvips, and by own means where those do not read it, or wrongly."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

import pyvips

from pipeline.formats import budget, tiff, tiff_layout
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff_colours import Ycbcr, is_reversed, ycbcr_of
from pipeline.formats.tiff_layout import Compression
from pipeline.formats.tiff_sound import require_complete, require_readable
from tiler.decode.reader import Reader
from tiler.decode.readers.tiff.jpeg_tiles import require_full_tiles
from tiler.decode.readers.tiff.overviews import overview
from tiler.decode.readers.tiff.ycbcr import to_rgb
from tiler.decode.remarks import PASSING, without
from tiler.decode.witness import Words

if TYPE_CHECKING:
    from tiler.decode.readers.tiff.recoded import Recoded

HARMLESS = re.compile('Bad value .* for ".*" tag|ZSTD compression support is not configured')
"""Remarks of libtiff that files of several programs give rise to. They concern what surrounds the pixels, or another
page: one compressed by zstd is not left to libtiff."""

_JPEGS_END = re.compile(r"read gave \d+ warnings|^VipsJpeg: .*")
"""What is said of a JPEG that was opened before, and goes meanwhile."""

_TILED = "warning"
"""fail_on of a TIFF in tiles: below it libvips takes a tile that libtiff could not decode as it is, and goes on. What
libtiff merely remarks on fails nothing there."""

_Place = tuple[int, int | None]
"""A page, and the directory below it."""


class _Reading(NamedTuple):
    """How libvips reads a page.

    Parameters
    ----------
    is_quiet: whether it fails at no damage, and only its error buffer tells of it.
    coded: how to make RGB of the YCbCr that it gives; None where it gives none.
    is_reversed: whether the greatest samples are black.
    """

    is_tiled: bool = False
    is_recoded: bool = False
    is_quiet: bool = False
    coded: Ycbcr | None = None
    is_reversed: bool = False


class TiffReader(Reader):
    """Reads a page of a TIFF, and the smaller versions below it or behind it."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"tiff"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("error", "truncated")

    def __init__(self, path: Path, page: int = 0, *, kind: str = "tiff", lenient: bool = False) -> None:
        super().__init__(path, page, kind=kind, lenient=lenient)
        self._recoded: list[Recoded] = []
        self._readings: dict[_Place, _Reading] = {}
        self._places: dict[_Place, tuple[str, bool, int]] = {}
        self._judged: dict[_Place, bool] = {}

    def prepare(self) -> None:
        """As Reader.prepare."""
        super().prepare()
        import_module("tiler.decode.readers.tiff.recoded")
        import_module("tiler.decode.readers.tiff.checksums")

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open; also raises as tiler.decode.readers.tiff.recoded.Recoded."""
        image = super().open(**options)
        if recoded := self._recode(**options):
            self._recoded.append(recoded)
            pages = image.get("n-pages")
            image = pyvips.Image.new_from_source(recoded.source(), "", **self._settings(**options)).copy()
            image.set_type(pyvips.GValue.gint_type, "n-pages", pages)
        coded = self._reading(options.get("page", self.page), options.get("subifd")).coded
        self.notes = ["YCbCr converted to RGB"] if coded else []
        return to_rgb(image, coded) if coded else image

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: an overview."""
        found = overview(self.path, self.page, self.header(), edge)
        return self.open(**found.option) if found else None

    def work(self, tile_size: int) -> budget.Work:
        """As Reader.work."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, self.page):
                size = self.path.stat().st_size
                budget.require_stored_once(tiff_layout.stored_bytes(directory, size), size)
        return super().work(tile_size)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: deflate's checksums, which libtiff does not look at."""
        with self.path.open("rb") as file:
            directory = None
            with suppress(struct.error):
                directory = self._directory(file, self.page)
            if directory:
                from tiler.decode.readers.tiff.checksums import require_checksums  # noqa: PLC0415  for the few that need them

                require_checksums(directory, file)

    @property
    def is_quiet(self) -> bool:
        """As Reader.is_quiet: JPEG in tiles, what is read as RGBA, strips when lenient."""
        reading = self._reading(self.page)
        return reading.is_quiet or (self.lenient and not reading.is_tiled)

    @property
    def is_reversed(self) -> bool:
        """As Reader.is_reversed: where white is zero."""
        return self._reading(self.page).is_reversed

    def is_transparency(self, bands: int) -> bool:
        """As Reader.is_transparency: always but in some TIFFs.

        ExtraSamples 0 is data of any kind, such as infrared. Where the tag is absent, the band is transparency by
        custom, if not by TIFF 6.0. A band that the file has not got is the decoder's own, and opaque.
        """
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, self.page):
                unmarked = directory.values(tiff.Tag.EXTRA_SAMPLES)[:1] == (0,)
                return not unmarked and directory.value(tiff.Tag.SAMPLES, bands) >= bands
        return True

    def cause(self, error: Exception) -> Exception:
        """As Reader.cause: what went wrong in own code that libvips called."""
        if not self._recoded or not isinstance(error, pyvips.Error):
            return error
        said = pyvips.Error(error.message, without(error.detail, HARMLESS) or "nothing was said")
        return next((recoded.fault for recoded in self._recoded if recoded.fault), said)

    def _missing(self, words: Words) -> str | None:
        # libvips takes what libtiff gave of a damaged strip or tile, in some ways of reading, or paints it black, and
        # goes on.
        heard = [line for line in words.remarks if not PASSING.search(line) and not _JPEGS_END.search(line)]
        said = without("\n".join((*words.errors, *heard)), HARMLESS).strip()
        return said if said or any(recoded.fault for recoded in self._recoded) else None

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        return bool(HARMLESS.search(text))

    def _held_bytes(self) -> int:
        with self.path.open("rb") as file, suppress(struct.error):
            return tiff_layout.held_bytes(file, self.path.stat().st_size, self.page)
        return 0

    def _refuse(self, page: int, subifd: int | None) -> None:
        """As Reader._refuse: a page that libvips would paint black, or show as a stamp.

        By its code unsupported_format, or image_corrupt where tiles are not as large as they should be. Of a page whose
        directory breaks off nobody knows how it has to be read.
        """
        if (page, subifd) in self._judged:
            return
        super()._refuse(page, subifd)
        self._judged[page, subifd] = False
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, page, subifd):
                require_readable(directory)
                require_complete(directory)
                require_full_tiles(directory, file)
                self._judged[page, subifd] = True

    def _load(self, **options: int) -> pyvips.Image:
        image = super()._load(**options)
        if not self._judged[options.get("page", self.page), options.get("subifd")]:
            raise damaged("its directory cannot be read as a whole")
        return image

    def _directory(self, file: BinaryIO, page: int, subifd: int | None = None) -> tiff.Directory | None:
        """Give what `tiff.find` gives; looked for once, since there may be a million before it."""
        if place := self._places.get((page, subifd)):
            return tiff.Directory(file, *place)
        if directory := tiff.find(file, page, subifd):
            self._places[page, subifd] = directory.order, directory.big, directory.offset
        return directory

    def _settings(self, page: int = 0, subifd: int | None = None, **options: int) -> dict[str, str | bool]:
        settings = super()._settings(page, subifd, **options)
        if self._reading(page, subifd).is_tiled:
            settings["fail_on"] = _TILED
        # Of its memory tiff_layout judges beforehand: libtiff would refuse 50 MB, however much there is.
        return settings | {"unlimited": True}

    def _recode(self, **options: int) -> Recoded | None:
        """Give the page as libvips can read it, where it cannot by itself."""
        page, subifd = options.get("page", self.page), options.get("subifd")
        if not self._reading(page, subifd).is_recoded:
            return None
        from tiler.decode.readers.tiff.recoded import Recoded  # noqa: PLC0415  for the few that are

        with self.path.open("rb") as file:
            directory = self._directory(file, page, subifd)
            return Recoded(self.path, directory) if directory else None

    def _reading(self, page: int, subifd: int | None = None) -> _Reading:
        """Tell how a page is read, or a picture below it; found out once."""
        key = page, subifd
        if key not in self._readings:
            found = _Reading()
            with self.path.open("rb") as file, suppress(struct.error):
                if directory := self._directory(file, page, subifd):
                    found = _reading_of(directory)
            self._readings[key] = found
        return self._readings[key]


def _reading_of(directory: tiff.Directory) -> _Reading:
    tiled, recoded = tiff.Tag.TILE_WIDTH in directory.entries, tiff_layout.is_recoded(directory)
    jpeg = directory.value(tiff.Tag.COMPRESSION, Compression.NONE) == Compression.JPEG
    coarse = tiff_layout.is_coarse(directory) and not jpeg
    return _Reading(
        tiled, recoded, not recoded and (coarse or (jpeg and tiled)), ycbcr_of(directory), is_reversed(directory)
    )
