"""Read TIFF with libvips, which uses libtiff; pages that libvips cannot read, or reads wrongly, are recoded first."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

import pyvips

from pipeline.formats import budget, tiff
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff.checks import require_complete, require_readable
from pipeline.formats.tiff.colours import Ycbcr, is_reversed, ycbcr_of
from pipeline.formats.tiff.layout import Compression, held_bytes, is_coarse, is_recoded, is_split, stored_bytes
from tiler.decode.decoder_messages import Words, heard
from tiler.decode.decoder_warnings import PASSING, without
from tiler.decode.metadata import PROFILE
from tiler.decode.reader import Reader
from tiler.decode.readers.tiff.jpeg_tiles import require_full_tiles
from tiler.decode.readers.tiff.overviews import overview
from tiler.decode.readers.tiff.ycbcr import to_rgb

if TYPE_CHECKING:
    from tiler.decode.readers.tiff.virtual_tiff import VirtualTiff

HARMLESS = re.compile('Bad value .* for ".*" tag|ZSTD compression support is not configured')
"""Warnings of libtiff about files of several programs. They do not concern the pixels of the page that is read: a page
compressed with zstd is never left to libtiff."""

_UNSHOWN = (
    "ImageDescription|DocumentName|PageName|PageNumber|Software|Artist|Copyright|DateTime|HostComputer|Make|Model|XPosition"
    "|YPosition|XResolution|YResolution|ResolutionUnit|DotRange|InkNames|TargetPrinter|S?M(in|ax)SampleValue|HalftoneHints"
)
"""Names of tags that nothing of the pixels depends on."""

FORGIVEN = re.compile(
    "tags are not sorted in ascending order|Sum of Photometric type-related color channels and ExtraSamples"
    '|ASCII value for tag ".*" (does not end in null byte|contains null byte in value)'
    f'|(Incorrect count|incorrect count|Incompatible type) for (field )?"({_UNSHOWN})"'
    "|Auto-corrected former TIFF subsampling values"
)
"""Warnings of libtiff about a directory that do not concern the pixels. After any other one, such as for a palette that
it ignores, it shows something else than the file says."""

_JPEGS_END = re.compile(r"read gave \d+ warnings|^VipsJpeg: .*")
"""Messages about another JPEG that was opened earlier and is freed during the decoding."""

_TILED = "warning"
"""`fail_on` of a tiled TIFF. With a weaker setting libvips would accept tiles that libtiff could not decode. Warnings
of libtiff alone do not make a tiled TIFF fail."""

_Place = tuple[int, int | None]
"""A page, and the index of a sub-directory of it or None."""


class _Reading(NamedTuple):
    """How libvips reads a page.

    Parameters
    ----------
    is_quiet: whether libvips does not fail on damage, and reports it in its error buffer only.
    coded: how to convert the YCbCr that libvips returns to RGB; None if it returns no YCbCr.
    is_reversed: whether the greatest samples are black.
    """

    is_tiled: bool = False
    is_recoded: bool = False
    is_split: bool = False
    is_quiet: bool = False
    coded: Ycbcr | None = None
    is_reversed: bool = False


class TiffReader(Reader):
    """Reads a page of a TIFF, and its smaller versions in sub-directories or later pages."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"tiff"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("error", "truncated")

    def __init__(self, path: Path, page: int = 0, *, kind: str = "tiff", lenient: bool = False) -> None:
        super().__init__(path, page, kind=kind, lenient=lenient)
        self._made: list[VirtualTiff] = []
        self._of_header: set[str] = set()
        self._readings: dict[_Place, _Reading] = {}
        self._places: dict[_Place, tuple[str, bool, int]] = {}
        self._judged: dict[_Place, bool] = {}

    def prepare(self) -> None:
        """As Reader.prepare."""
        super().prepare()
        import_module("tiler.decode.readers.tiff.recoded")
        import_module("tiler.decode.readers.tiff.planes")
        import_module("tiler.decode.readers.tiff.checksums")

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open; also raises as Recoded and Plane."""
        image = super().open(**options)
        with self._heard_of_header():
            if made := self._make(**options):
                pages = image.get("n-pages")
                image = made.copy()
                image.set_type(pyvips.GValue.gint_type, "n-pages", pages)
        coded = self._reading(options.get("page", self.page), options.get("subifd")).coded
        self.notes = ["YCbCr converted to RGB"] if coded else []
        return to_rgb(image, coded) if coded else image

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: opens an overview."""
        found = overview(self.path, self.page, self.header(), edge)
        return self.open(**found.option) if found else None

    def work(self, tile_size: int) -> budget.Work:
        """As Reader.work."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, self.page):
                size = self.path.stat().st_size
                budget.require_stored_once(stored_bytes(directory, size), size)
        return super().work(tile_size)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: verifies deflate's checksums, which libtiff ignores."""
        with self.path.open("rb") as file:
            directory = None
            with suppress(struct.error):
                directory = self._directory(file, self.page)
            if directory:
                from tiler.decode.readers.tiff.checksums import require_checksums  # noqa: PLC0415  only some pages need it

                require_checksums(directory, file)

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libtiff leaves out a profile that cannot be read."""
        with self.path.open("rb") as file, suppress(struct.error):
            directory = self._directory(file, self.page)
            return frozenset({PROFILE}) if directory and tiff.Tag.PROFILE in directory.entries else frozenset()
        return frozenset()

    @property
    def is_quiet(self) -> bool:
        """As Reader.is_quiet: true for tiles of JPEG, for pages read as RGBA, and for strips when lenient."""
        reading = self._reading(self.page)
        return reading.is_quiet or (self.lenient and not reading.is_tiled)

    @property
    def is_reversed(self) -> bool:
        """As Reader.is_reversed: true if zero is white."""
        return self._reading(self.page).is_reversed

    def is_transparency(self, bands: int) -> bool:
        """As Reader.is_transparency: decided by the ExtraSamples tag.

        ExtraSamples 0 is data of any kind, such as infrared. Without the tag, the band counts as transparency: TIFF 6.0
        does not say so, but programs do. A band that the file does not have was added by the decoder, and is opaque.
        """
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, self.page):
                unmarked = directory.values(tiff.Tag.EXTRA_SAMPLES)[:1] == (0,)
                return not unmarked and directory.value(tiff.Tag.SAMPLES, bands) >= bands
        return True

    def cause(self, error: Exception) -> Exception:
        """As Reader.cause: returns the error of our own code that libvips called, if there was one."""
        if not self._made or not isinstance(error, pyvips.Error):
            return error
        said = pyvips.Error(error.message, without(error.detail, HARMLESS) or "no message was given")
        return next((made.fault for made in self._made if made.fault), said)

    def _missing(self, words: Words) -> str | None:
        # For some layouts, libvips accepts what libtiff returned of a damaged strip or tile, or paints the tile black.
        remarks = [line for line in words.remarks if not self._is_passing(line)]
        said = without("\n".join((*words.errors, *remarks)), HARMLESS).strip()
        return said if said or any(made.fault for made in self._made) else None

    def _is_passing(self, line: str) -> bool:
        """Return whether a warning given while pixels are decoded does not concern them."""
        if PASSING.search(line) or _JPEGS_END.search(line):
            return True
        return line in self._of_header and bool(FORGIVEN.search(line))

    @contextmanager
    def _heard_of_header(self) -> Iterator[None]:
        """Record libtiff's warnings about directories, since it repeats them when it begins to decode."""
        with heard() as words:
            yield
        self._of_header.update(words.remarks)

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        return bool(HARMLESS.search(text))

    def _held_bytes(self) -> int:
        with self.path.open("rb") as file, suppress(struct.error):
            return held_bytes(file, self.path.stat().st_size, self.page)
        return 0

    def _refuse(self, page: int, subifd: int | None) -> None:
        """As Reader._refuse: refuses a page that libvips would paint black, or replace by its small preview.

        Raises unsupported_format, or image_corrupt if tiles have the wrong size. A page whose directory cannot be read
        completely stays marked as not judged, and `_load` refuses it.
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
        with self._heard_of_header():
            image = super()._load(**options)
        if not self._judged[options.get("page", self.page), options.get("subifd")]:
            raise damaged("its directory cannot be read as a whole")
        return image

    def _directory(self, file: BinaryIO, page: int, subifd: int | None = None) -> tiff.Directory | None:
        """As `tiff.find`, but searches once: there may be a million directories before the page."""
        if place := self._places.get((page, subifd)):
            return tiff.Directory(file, *place)
        if directory := tiff.find(file, page, subifd):
            self._places[page, subifd] = directory.order, directory.big, directory.offset
        return directory

    def _settings(self, page: int = 0, subifd: int | None = None, **options: int) -> dict[str, str | bool]:
        settings = super()._settings(page, subifd, **options)
        if self._reading(page, subifd).is_tiled:
            settings["fail_on"] = _TILED
        # tiff_layout checks the needed memory before. libtiff would refuse 50 MB, however much memory there is.
        return settings | {"unlimited": True}

    def _make(self, **options: int) -> pyvips.Image | None:
        """Open the page by way of a TIFF that libvips can read; None if libvips can read it as it is."""
        page, subifd = options.get("page", self.page), options.get("subifd")
        reading = self._reading(page, subifd)
        if not reading.is_recoded and not reading.is_split:
            return None
        with self.path.open("rb") as file:
            directory = self._directory(file, page, subifd)
            if directory is None:
                return None
            if reading.is_split:
                from tiler.decode.readers.tiff import planes  # noqa: PLC0415  only some pages need it

                image, opened = planes.opened(self.path, directory, self._settings(**options))
                self._made += opened
                return image
            from tiler.decode.readers.tiff.recoded import Recoded  # noqa: PLC0415  only some pages need it

            recoded = Recoded(self.path, directory)
        self._made.append(recoded)
        return pyvips.Image.new_from_source(recoded.source(), "", **self._settings(**options))

    def _reading(self, page: int, subifd: int | None = None) -> _Reading:
        """Return how libvips reads a page or one of its sub-directories; cached."""
        key = page, subifd
        if key not in self._readings:
            found = _Reading()
            with self.path.open("rb") as file, suppress(struct.error):
                if directory := self._directory(file, page, subifd):
                    found = _reading_of(directory)
            self._readings[key] = found
        return self._readings[key]


def _reading_of(directory: tiff.Directory) -> _Reading:
    tiled, recoded = tiff.Tag.TILE_WIDTH in directory.entries, is_recoded(directory)
    jpeg = directory.value(tiff.Tag.COMPRESSION, Compression.NONE) == Compression.JPEG
    coarse = is_coarse(directory) and not jpeg
    return _Reading(
        is_tiled=tiled,
        is_recoded=recoded,
        is_split=is_split(directory),
        is_quiet=not recoded and (coarse or (jpeg and tiled)),
        coded=ycbcr_of(directory),
        is_reversed=is_reversed(directory),
    )
