"""A stored source as it is opened, as often as it takes: which page, how strictly, by which reader."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pyvips

from pipeline.errors import StageError
from pipeline.formats import budget, kinds, tiff, tiff_layout
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.header import Header, header_of, is_interlaced, memory_of, pixel_bytes, require_page
from pipeline.formats.raw_photographs import require_developed
from pipeline.formats.tiff_colours import Ycbcr, is_reversed, ycbcr_of
from pipeline.formats.tiff_layout import Compression
from pipeline.formats.tiff_sound import require_complete, require_readable
from tiler.decode.heif_items import HEVC, Items
from tiler.decode.remarks import COUNTED, harmful, harmful_while_decoding, has_odd_scan, is_harmless
from tiler.decode.scans import require_sound_scans
from tiler.decode.tiff_jpegs import require_full_tiles
from tiler.decode.witness import heard, listen
from tiler.decode.ycbcr import to_rgb

if TYPE_CHECKING:
    from tiler.decode.recoded import Recoded

_FAIL_ON = {"jpeg": ("warning", "error"), "gif": ("warning", "warning"), "tiff": ("error", "truncated")}
"""libvips' fail_on, strict and lenient; "error" for all others, which do not heed "warning" or fail over trifles. A GIF
whose frame ends early is filled up with its background at "error"."""

_TILED = "warning"
"""fail_on of a TIFF in tiles: below it libvips takes a tile that libtiff could not decode as it is, and goes on. What
libtiff merely remarks on fails nothing there."""


class _Reading(NamedTuple):
    """How libvips reads a page of a TIFF.

    Parameters
    ----------
    is_quiet: whether it fails at no damage, and only its buffer tells of it.
    coded: how to make RGB of the YCbCr that it gives; None where it gives none.
    is_reversed: whether the greatest samples are black.
    """

    is_tiled: bool = False
    is_recoded: bool = False
    is_quiet: bool = False
    coded: Ycbcr | None = None
    is_reversed: bool = False


@dataclass
class Source:
    """A stored source and how it is to be read.

    Parameters
    ----------
    path: of the file.
    page: from 0.
    lenient: whether a harmless remark of its decoder is overlooked.
    """

    path: Path
    page: int = 0
    lenient: bool = False
    _codec: bytes = field(default=b"", init=False, repr=False)
    _recoded: list[Recoded] = field(default_factory=list, init=False, repr=False)
    _readings: dict[tuple[int, int | None], _Reading] = field(default_factory=dict, init=False, repr=False)
    _places: dict[tuple[int, int | None], tuple[str, bool, int]] = field(default_factory=dict, init=False, repr=False)

    def open(self, **options: int) -> pyvips.Image:
        """Open the page anew, to be read once from top to bottom.

        Parameters
        ----------
        options: of libvips' loader, for a smaller version of the page; `page` overrides the source's own.

        Raises
        ------
        StageError: page_not_found, unsupported_format; also as tiler.decode.recoded.
        pyvips.Error: where no reader takes the file.
        """
        image = self._load(**options)
        if self._kind == "heif":
            return self._open_heif(image, **options)
        if recoded := self._recode(**options):
            self._recoded.append(recoded)
            pages = image.get("n-pages")
            image = pyvips.Image.new_from_source(recoded.source(), "", **self._options(**options)).copy()
            image.set_type(pyvips.GValue.gint_type, "n-pages", pages)
        coded = self._coded(options.get("page", self.page), options.get("subifd"))
        return to_rgb(image, coded) if coded else image

    def header(self) -> Header:
        """Give what the header says; raises as `open`. Read once: a TIFF is opened by all of its pages."""
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Header, int]:
        """The header, and the bytes of a decoded pixel."""
        image = self._load()
        return header_of(image), pixel_bytes(image)

    def memory(self, tile_size: int) -> int:
        """Give the bytes that tiling it takes at most, by its header; raises as `open`."""
        image = self._load()
        held = 0
        if self._kind == "tiff":
            with self.path.open("rb") as file, suppress(struct.error):
                held = tiff_layout.held_bytes(file, self.path.stat().st_size, self.page)
        return memory_of(image, header_of(image), tile_size, held)

    def work(self, tile_size: int) -> budget.Work:
        """Reckon what tiling it takes, by what its header and its frames say; raises as `open`.

        Raises
        ------
        StageError: decoder_too_slow, where a TIFF lists the same bytes again and again.
        """
        header = self.header()
        with self.path.open("rb") as file:
            with suppress(struct.error):
                if self._kind == "tiff" and (directory := self._directory(file, self.page)):
                    size = self.path.stat().st_size
                    budget.require_stored_once(tiff_layout.stored_bytes(directory, size), size)
            each = self._opened[1]
            work = budget.work_of(header, file, self.page, tile_size=tile_size, pixel_bytes=each)
            with suppress(struct.error, IndexError):
                if self._kind == "heif":
                    items = Items(file, _heif_sound().items_of(self.path, self.page, header.pages))
                    parts, passes = items.listed(self.page), items.passes(self.page)
                    before = max(0, sum(parts) - header.pixels) + sum(passes)
                    work = work._replace(before=before, frames=len(parts) + len(passes))
            return work

    def cause(self, error: Exception) -> Exception:
        """Give what made a decoder fail: `error`, or what it could not tell."""
        if not self._recoded or not isinstance(error, pyvips.Error):
            return error
        said = pyvips.Error(error.message, harmful(error.detail, self._kind) or "nothing was said")
        return next((recoded.fault for recoded in self._recoded if recoded.fault), said)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Decode the source within, by one call: see tiler.decode.witness.heard. Each decoding needs it, for itself.

        libvips takes what libtiff gave of a damaged strip or tile, in some ways of reading, or paints it black, and
        goes on.

        Raises
        ------
        pyvips.Error: where a decoder failed all the same.
        """
        with heard() as words:
            yield
        said = harmful_while_decoding(words.remarks, words.errors, self._kind)
        if said or any(recoded.fault for recoded in self._recoded):
            raise pyvips.Error("a part of the picture could not be decoded", said)

    @property
    def is_quiet(self) -> bool:
        """Whether only libvips' buffer tells of damage: JPEG in tiles, what is read as RGBA, strips when lenient."""
        if self._kind != "tiff":
            return False
        reading = self._reading(self.page)
        return reading.is_quiet or (self.lenient and not reading.is_tiled)

    @property
    def is_converted(self) -> bool:
        """Whether it is stored as YCbCr, and `open` makes RGB of what its decoder gives."""
        return self._coded(self.page) is not None

    @property
    def is_reversed(self) -> bool:
        """Whether the greatest of its signed or floating samples stand for black."""
        return self._kind == "tiff" and self._reading(self.page).is_reversed

    def prepare(self) -> None:
        """Load, in a process that is not confined yet, what only some sources need."""
        listen()
        with suppress(OSError):
            if self._kind == "tiff":
                import_module("tiler.decode.recoded")
                import_module("tiler.decode.checksums")
            if self._kind == "heif":
                with suppress(StageError):
                    _heif_sound()
                import_module("tiler.decode.heic")

    def require_sound_scans(self) -> None:
        """Look at the scans of a JPEG that has several. Raises as scans.require_sound_scans, and as `open`."""
        if self._kind == "jpeg" and is_interlaced(self.open()):
            with self.path.open("rb") as file:
                require_sound_scans(file)

    def require_checksums(self) -> None:
        """Raise StageError where a TIFF compressed by deflate breaks a checksum that its decoder does not look at."""
        if self._kind != "tiff":
            return
        with self.path.open("rb") as file:
            directory = None
            with suppress(struct.error):
                directory = self._directory(file, self.page)
            if directory:
                from tiler.decode.checksums import require_checksums  # noqa: PLC0415  for the few that need them

                require_checksums(directory, file)

    def overlook(self, error: Exception) -> bool:
        """Be lenient from now on, if what failed is only a harmless remark; tells whether it makes sense to try again.

        libjpeg words its first remark alone, and counts the others: whether any follows is found out by decoding.
        """
        with self.path.open("rb") as file:
            if self.lenient or not is_harmless(str(error), self._kind, file):
                return False
            before_pixels = has_odd_scan(file) if self._kind == "jpeg" else False
        self.lenient = True
        if self._kind == "jpeg":
            in_all, in_header = self._remarks(decode=True), self._remarks(decode=False)
            self.lenient = 0 < in_all <= in_header + before_pixels
        return self.lenient

    def _remarks(self, *, decode: bool) -> int:
        """Count what libjpeg remarks on in the header, or in all of it.

        What libvips keeps for another time is not heard of: its cache has to be off.
        """
        with heard() as words:
            self._touch(decode=decode)
        found = [int(number) for remark in words.remarks for number in COUNTED.findall(remark)]
        return max(found, default=0)

    def _touch(self, *, decode: bool) -> None:
        # The count is told when the decoder goes, with the image.
        with suppress(pyvips.Error):
            image = self.open()
            if decode:
                image.avg()

    def means_transparency(self, bands: int) -> bool:
        """Tell whether the last of `bands`, one more than the colours, is transparency: always but in some TIFFs.

        ExtraSamples 0 is data of any kind, such as infrared. Where the tag is absent, the band is transparency by
        custom, if not by TIFF 6.0. A band that the file has not got is the decoder's own, and opaque.
        """
        if self._kind != "tiff":
            return True
        with self.path.open("rb") as file, suppress(struct.error):
            if directory := self._directory(file, self.page):
                unmarked = directory.values(tiff.Tag.EXTRA_SAMPLES)[:1] == (0,)
                return not unmarked and directory.value(tiff.Tag.SAMPLES, bands) >= bands
        return True

    @cached_property
    def _kind(self) -> str:
        with self.path.open("rb") as file:
            return kinds.kind_of(file.read(kinds.HEAD))

    @cached_property
    def _is_listed(self) -> bool:
        """Whether it is an animation, found to have few enough frames; raises StageError("decoder_too_slow")."""
        if self._kind != "webp":
            return False
        with self.path.open("rb") as file:
            budget.require_few_frames(self._kind, file)
        return True

    def _open_heif(self, header: pyvips.Image, **options: int) -> pyvips.Image:
        """Give the page, once it was found to be sound; a smaller version that an AVIF carries is not looked at."""
        if options:
            if header.get("heif-compression") == "hevc":
                raise pyvips.Error("heif: no smaller version of a HEIC is read")
            return header
        if not self._codec:
            shown = header.width * header.height
            self._codec = _heif_sound().require_sound(self.path, self.page, header.get("n-pages"), shown)
        if self._codec != HEVC:
            return header
        from tiler.decode.heic import decoded  # noqa: PLC0415  for the few that are

        return decoded(self.path, self.page, header)

    def _load(self, **options: int) -> pyvips.Image:
        """Open the page by libvips alone, which reads any TIFF's header; raises as `open`."""
        is_judged = self._require_readable(options.get("page", self.page), options.get("subifd"))
        if self._kind == "svg":
            self._require_size_in_reach()
        if options:
            image = self._by_libvips(**({"page": self.page} if self.page else {}) | options)
        else:
            image = self._by_libvips()
            self._require_kind(image)
            require_page(header_of(image), self.page)
            image = image if self.page == 0 else self._by_libvips(page=self.page)
        if not is_judged:
            raise damaged("its directory cannot be read as a whole")
        return image

    def _require_readable(self, page: int, subifd: int | None) -> bool:
        """Raise StageError for what libvips would open, and paint black or show as a stamp.

        By its code unsupported_format, or image_corrupt where tiles are not as large as they should be. Gives whether
        it could be told: of a TIFF whose directory breaks off nobody knows how it has to be read.
        """
        if (page, subifd) in self._readings or self._is_listed:
            return True
        with self.path.open("rb") as file:
            require_developed(self._kind, file)
            if self._kind != "tiff":
                return True
            try:
                directory = self._directory(file, page, subifd)
                if directory is None:
                    return False
                require_readable(directory)
                require_complete(directory)
                require_full_tiles(directory, file)
            except struct.error:
                return False
        return True

    def _directory(self, file: BinaryIO, page: int, subifd: int | None = None) -> tiff.Directory | None:
        """Give what `tiff.find` gives; looked for once, since there may be a million before it."""
        if place := self._places.get((page, subifd)):
            return tiff.Directory(file, *place)
        if directory := tiff.find(file, page, subifd):
            self._places[page, subifd] = directory.order, directory.big, directory.offset
        return directory

    def _require_kind(self, image: pyvips.Image) -> None:
        """Raise StageError("unsupported_format") where libvips took a file for another format than its kind says."""
        found = header_of(image).format
        if {"avif": "heif"}.get(found, found) != self._kind:
            raise StageError("unsupported_format", f"The file does not begin as a {found.upper()} does. Save it again.")

    def _require_size_in_reach(self) -> None:
        """Raise StageError("image_too_large") for an SVG with an edge beyond what libvips counts, which it calls 1."""
        found = self._by_libvips()
        if 1 not in {found.width, found.height}:
            return
        with suppress(pyvips.Error):  # which comes of such an edge as well
            larger = self._by_libvips(scale=3)
            if found.width < larger.width and found.height < larger.height:
                return
        raise StageError("image_too_large", "The SVG has more pixels to an edge than can be counted here.")

    def _by_libvips(self, **options: int) -> pyvips.Image:
        return pyvips.Image.new_from_file(str(self.path), **self._options(**options), **options)

    def _options(self, page: int = 0, subifd: int | None = None, **_: int) -> dict[str, str | bool]:
        strict, lenient = _FAIL_ON.get(self._kind, ("error", "error"))
        if self._kind == "tiff" and self._reading(page, subifd).is_tiled:
            strict = lenient = _TILED
        # Of a TIFF's memory tiff_layout judges beforehand: libtiff would refuse 50 MB, however much there is.
        unlimited = {"unlimited": True} if self._kind == "tiff" else {}
        return {"access": "sequential", "fail_on": lenient if self.lenient else strict, **unlimited}

    def _recode(self, **options: int) -> Recoded | None:
        """Give the page as libvips can read it, where it cannot by itself."""
        page, subifd = options.get("page", self.page), options.get("subifd")
        if self._kind != "tiff" or not self._reading(page, subifd).is_recoded:
            return None
        from tiler.decode.recoded import Recoded  # noqa: PLC0415  for the few that are

        with self.path.open("rb") as file:
            directory = self._directory(file, page, subifd)
            return Recoded(self.path, directory) if directory else None

    def _coded(self, page: int, subifd: int | None = None) -> Ycbcr | None:
        return self._reading(page, subifd).coded if self._kind == "tiff" else None

    def _reading(self, page: int, subifd: int | None = None) -> _Reading:
        """Tell how a page of a TIFF is read, or a picture below it; found out once."""
        key = page, subifd
        if key not in self._readings:
            found = _Reading()
            with self.path.open("rb") as file, suppress(struct.error):
                if directory := self._directory(file, page, subifd):
                    found = _reading_of(directory)
            self._readings[key] = found
        return self._readings[key]


def _heif_sound() -> ModuleType:
    """Give tiler.decode.heif_sound, for the few that need it."""
    try:
        return import_module("tiler.decode.heif_sound")
    except ImportError as error:
        raise StageError(
            "unsupported_format", f"HEIF and AVIF cannot be held to be whole on this machine ({error})."
        ) from error


def _reading_of(directory: tiff.Directory) -> _Reading:
    tiled, recoded = tiff.Tag.TILE_WIDTH in directory.entries, tiff_layout.is_recoded(directory)
    jpeg = directory.value(tiff.Tag.COMPRESSION, Compression.NONE) == Compression.JPEG
    coarse = tiff_layout.is_coarse(directory) and not jpeg
    return _Reading(
        tiled, recoded, not recoded and (coarse or (jpeg and tiled)), ycbcr_of(directory), is_reversed(directory)
    )
