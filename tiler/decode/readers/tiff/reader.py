"""Read TIFF with libvips, which uses libtiff; pages that libvips cannot read, or reads wrongly, are recoded first."""

from __future__ import annotations

import os
import re
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO, ClassVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats import budget, tiff
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.tiff.alpha import is_transparency, premultiplied_by
from pipeline.formats.tiff.checks import require_complete, require_readable
from pipeline.formats.tiff.colours import BLACK_IS_ZERO
from pipeline.formats.tiff.geo_keys import georeference_of
from pipeline.formats.tiff.layout import PALETTE, held_bytes, stored_bytes
from pipeline.formats.tiff.samples import range_of_bits
from pipeline.formats.tiff.scale import pixel_size_of
from pipeline.formats.tiff.stated_range import stated_range
from pipeline.georeference import Georeference
from pipeline.pixel_size import PixelSize
from tiler.decode.bundled import NoLibrary
from tiler.decode.decoder_messages import Words, heard
from tiler.decode.decoder_warnings import PASSING, without
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.metadata import PROFILE
from tiler.decode.missing import Missing, Warned
from tiler.decode.reader import Reader
from tiler.decode.readers.tiff.hidden import blanked, is_empty, is_nodata, painted, shown_value
from tiler.decode.readers.tiff.jpeg_tiles import require_full_tiles
from tiler.decode.readers.tiff.lab import to_lab
from tiler.decode.readers.tiff.overviews import overview
from tiler.decode.readers.tiff.places import Key, Places
from tiler.decode.readers.tiff.premultiplied import unmarked
from tiler.decode.readers.tiff.reading import Reading, reading_of, settings_for
from tiler.decode.readers.tiff.salvage import Lost, lost_of, without_cut_texts
from tiler.decode.readers.tiff.sampled import write_sample
from tiler.decode.readers.tiff.slimmed import Slimmed
from tiler.decode.readers.tiff.virtual_pages import VirtualPages, as_grey
from tiler.decode.readers.tiff.ycbcr import to_rgb

HARMLESS = re.compile('Bad value .* for ".*" tag|(ZSTD|LZMA) compression support is not configured')
"""Warnings of libtiff about files of several programs. They do not concern the pixels of the page that is read: a page
compressed with zstd or LZMA is never left to libtiff."""

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

CUT_DESCRIPTION = (
    "The file ends within its description, which programs write last. What it says of channels, depth and time, or of "
    "the size of a pixel, is lost, and the page is shown alone."
)

REMARKED = re.compile(f"Bad value|{FORGIVEN.pattern}")
"""Warnings about a directory that are passed on to the person."""

_JPEGS_END = re.compile(r"read gave \d+ warnings|^VipsJpeg: .*")
"""Messages about another JPEG that was opened earlier and is freed during the decoding."""


class TiffReader(Reader):
    """Reads a page of a TIFF, and its smaller versions in sub-directories or later pages."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"tiff"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("error", "truncated")

    def __init__(self, path: Path, page: int | None = 0, *, kind: str = "tiff", lenient: bool = False) -> None:
        super().__init__(path, page, kind=kind, lenient=lenient)
        self._virtual = VirtualPages(path, super()._settings)
        self._part: TiffReader | None = None
        self._of_header: set[str] = set()
        self._readings: dict[Key, Reading] = {}
        self._at = Places(path)
        self._judged: dict[Key, bool] = {}
        self._lost: Lost | None = None
        self._main: tiff.Main | None = None
        self._lacks_description = False

    def prepare(self) -> None:
        """As Reader.prepare."""
        super().prepare()
        import_module("tiler.decode.readers.tiff.recoded")
        import_module("tiler.decode.readers.tiff.planes")
        import_module("tiler.decode.readers.tiff.unpacked")
        with suppress(NoLibrary, AttributeError):
            import_module("tiler.decode.readers.tiff.jpeg12_frame").load()
        import_module("tiler.decode.readers.tiff.checksums")

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open; also raises as Recoded and planes.opened."""
        image = super().open(**options)
        page, subifd = options.get("page", self.page), options.get("subifd")
        with self._heard_of_header():
            image = self._opened_otherwise(image, page, subifd)
        reading = self._reading(page, subifd)
        self.notes = ["YCbCr converted to RGB"] if reading.coded else []
        image = to_rgb(image, reading.coded) if reading.coded else image
        image = to_lab(image, reading.lab) if reading.lab is not None else image
        with self.path.open("rb") as file:
            found = self._hide(image, file, page, subifd)
        if self._lost is not None:
            found = blanked(found, self._lost.mask())
        self.samples = str(image.format) if found.format != image.format else ""
        return found

    def _decodes(self, part: tiff.Directory, file: BinaryIO, header: pyvips.Image) -> bool:
        """Return whether a part of a page can be decoded without a fault."""
        from tiler.decode.readers.tiff.checksums import require_checksums  # noqa: PLC0415  only some pages need it

        reading, self._virtual = reading_of(part), VirtualPages(self.path, super()._settings)
        try:
            require_full_tiles(part, file)
            require_checksums(part, file)
            with self._heard_of_header():
                image = self._virtual.open(part, reading, header)
            with self.heeded():
                # Not its own average, which fails if that is not-a-number.
                image.cast("uchar").avg()
        except (*ERRORS, StageError, struct.error):
            return False
        return True

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: opens an overview."""
        found = overview(self.path, self.page, self.header(), edge)
        return self.open(**found.option) if found else None

    def part(self, pixels: int) -> Reader | None:
        """As Reader.part: a small TIFF of some strips or tiles, in TMPDIR."""
        with self.path.open("rb") as file, suppress(struct.error):
            directory = self._at.directory(file, self.page)
            if directory is None or self._at.mask(file, self.page) is not None:
                return None
            handle, name = mkstemp(suffix=".tif")
            os.close(handle)
            weakref.finalize(self, Path(name).unlink, missing_ok=True)
            if write_sample(file, directory, pixels, Path(name)):
                self._part = TiffReader(Path(name), lenient=self.lenient)
                return self._part
        return None

    def stated_range(self) -> tuple[float, float] | None:
        """As Reader.stated_range: by SMinSampleValue and SMaxSampleValue, or MinSampleValue and MaxSampleValue."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return stated_range(directory)
        return None

    def range_of_bits(self) -> tuple[float, float] | None:
        """As Reader.range_of_bits."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return range_of_bits(directory)
        return None

    def pixel_size(self) -> PixelSize | None:
        """As Reader.pixel_size: by OME-XML, Aperio's or ImageJ's description, or the resolution."""
        with self.path.open("rb") as file:
            place = self._at.place(file, self.page)
            return pixel_size_of(file, place) if place else None

    def georeference(self) -> Georeference | None:
        """As Reader.georeference: by GeoTIFF's tags."""
        with self.path.open("rb") as file:
            place = self._at.place(file, self.page)
            return georeference_of(file, place) if place else None

    def work(self, tile_size: int) -> budget.Work:
        """As Reader.work."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                size = self.path.stat().st_size
                stored = stored_bytes(directory, size)
                if left_out := self._reading(self.page).left_out:
                    stored += left_out.repeated_bytes(directory)
                if mask := self._at.mask(file, self.page):
                    stored += stored_bytes(mask, size)
                budget.require_stored_once(stored, size)
        return super().work(tile_size)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: verifies deflate's checksums, which libtiff ignores."""
        with self.path.open("rb") as file:
            directory = None
            with suppress(struct.error):
                directory = self._at.directory(file, self.page)
            if directory:
                from tiler.decode.readers.tiff.checksums import require_checksums  # noqa: PLC0415  only some pages need it

                require_checksums(directory, file)

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the strips or tiles that can be decoded on their own."""
        with self.path.open("rb") as file:
            directory = self._at.directory(file, self.page)
            if directory is None:
                return False
            require_readable(directory)
            header = self._by_libvips(page=self.page)
            directory, self._lacks_description = without_cut_texts(directory, self.path.stat().st_size)
            lost = lost_of(directory, self.path.stat().st_size, lambda part: self._decodes(part, file, header))
            if lost is None or lost.is_all:
                return False
        self._lost = lost
        self._at.replace(self.page, lost.directory)
        self._readings, self._judged = {}, {}
        self._virtual = VirtualPages(self.path, super()._settings)
        self.missing = Missing(lost.what() if any(lost.marks) else "", reason, lost.mask)
        return True

    def remarks(self) -> list[Warned]:
        """As Reader.remarks, with libtiff's about directories, and the page that was chosen if there was a choice."""
        said = sorted(line.rstrip(".") for line in self._of_header if REMARKED.search(line))
        heard_of = [Warned("decoder_remark", f"The decoder remarked: {line}.") for line in said]
        cut = [Warned("metadata_ignored", CUT_DESCRIPTION)] if self._lacks_description else []
        return [*cut, *self._choice(), *super().remarks(), *heard_of]

    def _choice(self) -> list[Warned]:
        main = self._main
        if main is None or (main.page == 0 and not main.others):
            return []
        named = f", {main.named:,} of them labels or macro views" if main.named else ""
        message = (
            f"Page {main.page:,} of the TIFF ({main.width:,} x {main.height:,} pixels) is shown: the largest that is "
            "no smaller version, mask, label or macro view. "
            f"The file has {self.header().pages:,} pages{named}. Ask for another one by its number, counted from 0."
        )
        return [Warned("page_chosen", message)]

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libtiff leaves out a profile that cannot be read."""
        with self.path.open("rb") as file, suppress(struct.error):
            directory = self._at.directory(file, self.page)
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
        """As Reader.is_transparency: decided by the ExtraSamples tag."""
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._at.directory(file, self.page):
                return is_transparency(directory, bands)
        return True

    def share_remarks(self, other: TiffReader) -> None:
        """Share with another reader of the file what libtiff remarked on directories: it repeats that at any time."""
        self._of_header = other._of_header

    def missing_by(self, words: Words) -> str | None:
        """Return the messages of a decoding that show that pixels of this page are missing; None if there are none."""
        return self._missing(words)

    def cause(self, error: Exception) -> Exception:
        """As Reader.cause: returns the error of our own code that libvips called, if there was one."""
        if not self._virtual.made or not isinstance(error, pyvips.Error):
            return error
        said = pyvips.Error(error.message, without(error.detail, HARMLESS) or "no message was given")
        return next((made.fault for made in self._virtual.made if made.fault), said)

    def _missing(self, words: Words) -> str | None:
        # For some layouts, libvips accepts what libtiff returned of a damaged strip or tile, or paints the tile black.
        remarks = [line for line in words.remarks if not self._is_passing(line)]
        said = without("\n".join((*words.errors, *remarks)), HARMLESS).strip()
        return said if said or any(made.fault for made in self._virtual.made) else None

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

    def take_all(self) -> tuple[int, ...]:
        """As Reader.take_all: all pages but smaller versions, labels and macro views."""
        try:
            with self.path.open("rb") as file:
                found = tiff.full_pages(file)
        except struct.error as error:
            raise damaged("its directories cannot be read as a whole") from error
        self._asked_page = found[0] if found else 0
        return tuple(found) or (0,)

    def _main_page(self) -> int:
        try:
            with self.path.open("rb") as file:
                self._main = tiff.main_page(file)
        except struct.error as error:
            raise damaged("its directories cannot be read as a whole") from error
        return self._main.page if self._main else 0

    def _by_libvips(self, **options: int) -> pyvips.Image:
        """As Reader._by_libvips. libvips counts the pages otherwise: see pipeline.formats.tiff.pages."""
        settings, given = self._settings(**options), options | self._at.options(options.get("page", 0))
        changes = self._at.patches(options.get("page", 0), options.get("subifd"))
        if changes:
            self._virtual.made.append(Slimmed(self.path, changes))
            image = pyvips.Image.new_from_source(self._virtual.made[-1].source(), "", **settings, **given)
        else:
            image = pyvips.Image.new_from_file(str(self.path), **settings, **given)
        if not self._at.surplus:
            return image
        image = image.copy()
        image.set_type(pyvips.GValue.gint_type, "n-pages", max(1, image.get("n-pages") - self._at.surplus))
        return image

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
            if directory := self._at.directory(file, page, subifd):
                require_readable(directory)
                require_complete(directory)
                require_full_tiles(directory, file)
                self._require_mask(file, page, subifd)
                self._judged[page, subifd] = True

    def _load(self, **options: int) -> pyvips.Image:
        with self._heard_of_header():
            image = super()._load(**options)
        if not self._judged[options.get("page", self.page), options.get("subifd")]:
            raise damaged("its directory cannot be read as a whole")
        return image

    def _settings(self, page: int = 0, subifd: int | None = None, **options: int) -> dict[str, str | bool]:
        return settings_for(self._reading(page, subifd), super()._settings())

    def _opened_otherwise(self, image: pyvips.Image, page: int, subifd: int | None) -> pyvips.Image:
        """Return a page by way of a TIFF that libvips can read, or the opened image if libvips can read it as it is."""
        reading = self._reading(page, subifd)
        with self.path.open("rb") as file:
            directory = self._at.directory(file, page, subifd) if reading.is_opened_otherwise else None
            made = self._virtual.open(directory, reading, image) if directory else None
        if made is None:
            return image
        made = made.copy()
        made.set_type(pyvips.GValue.gint_type, "n-pages", image.get("n-pages"))
        return made

    def _hide(self, image: pyvips.Image, file: BinaryIO, page: int, subifd: int | None) -> pyvips.Image:
        """Paint what a page leaves out, and find its pixels that show nothing; sets `hidden`."""
        reading, directory = self._reading(page, subifd), self._at.directory(file, page, subifd)
        if directory is None:
            return image
        found = []
        if left_out := reading.left_out:
            image = painted(image, left_out, shown_value(directory, reading.nodata or 0))
            missing = left_out.missing - (sum(map(bool, self._lost.marks)) if self._lost else 0)
            if missing:
                self.notes.append(f"{missing:,} of {len(left_out.marks):,} strips or tiles are not in the file")
        if reading.nodata is not None:
            found.append(self._is_nodata(image, directory, reading, reading.nodata))
            self.notes.append(f"samples of {reading.nodata:g} (no data) made transparent")
        if mask := self._at.mask(file, page, subifd):
            found.append(self._virtual.open_mask(mask) == 0)
            self.notes.append("the file's mask made transparency")
            if left_out:
                found.append(is_empty(image, left_out))
        self.hidden = reduce(or_, found) if found else None
        return blanked(image, self.hidden) if self.hidden is not None else image

    def _is_nodata(
        self, image: pyvips.Image, directory: tiff.Directory, reading: Reading, nodata: float
    ) -> pyvips.Image:
        if directory.value(tiff.Tag.PHOTOMETRIC, BLACK_IS_ZERO) == PALETTE:
            # Several entries of a palette may have one colour, so the indices are read as well. Alpha divides no index.
            directory = unmarked(as_grey(directory))
            image = self._virtual.open(directory, reading_of(directory), image).extract_band(0)
        elif premultiplied_by(directory) is not None and reading.coded is None and reading.lab is None:
            # The value is that of a stored sample, which alpha does not divide.
            directory = unmarked(directory)
            image = self._virtual.open(directory, reading_of(directory), image)
        else:
            return is_nodata(image, shown_value(directory, nodata))
        if reading.left_out:
            image = painted(image, reading.left_out, shown_value(directory, nodata))
        return is_nodata(image, shown_value(directory, nodata))

    def _require_mask(self, file: BinaryIO, page: int, subifd: int | None) -> None:
        """Check the mask of a page as the page itself; raises as `_refuse`."""
        if mask := self._at.mask(file, page, subifd):
            require_readable(as_grey(mask))
            require_complete(mask)

    def _reading(self, page: int, subifd: int | None = None) -> Reading:
        """Return how libvips reads a page or one of its sub-directories; cached."""
        key = page, subifd
        if key not in self._readings:
            found = Reading()
            with self.path.open("rb") as file, suppress(struct.error):
                if directory := self._at.directory(file, page, subifd):
                    found = reading_of(directory)
            self._readings[key] = found
        return self._readings[key]
