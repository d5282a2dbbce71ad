"""The interface of all readers of image files, with an implementation that uses libvips alone.

To add a format, derive a class from `Reader`, override what differs, and add a line to tiler.decode.registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats import budget
from pipeline.formats.decoder_errors import said_by
from pipeline.formats.header import Header, header_of, memory_of, pixel_bytes, require_page
from pipeline.formats.tiff.raw_photographs import require_developed
from pipeline.georeference import Georeference
from pipeline.pixel_size import PixelSize
from pipeline.source_formats import IMAGES
from tiler.decode.colour_spaces import ColourSpace
from tiler.decode.decoder_messages import Words, heard, listen
from tiler.decode.decoder_warnings import painted
from tiler.decode.layers import Layer
from tiler.decode.missing import Missing, Warned


class Reader:
    """Reads one page of one stored source. Each call that returns pixels opens the file again.

    Attributes
    ----------
    KINDS: the kinds of file (pipeline.formats.kinds) that this class reads.
    FAIL_ON: libvips' `fail_on` when strict, and when lenient.
    notes: how `open` changed the decoder's pixels, in words for pyramid.json.
    hidden: a mask of the image that was opened last, 255 where it shows nothing; None if it shows all. It is read from
        the same file at the same time. Samples that are stretched are not-a-number there.
    samples: the type of the page's samples that were opened last, in libvips' words, where `open` returns another type,
        which has not-a-number for what is hidden; empty elsewhere.
    missing: what `open` leaves out of a damaged page since `salvage`; None before.
    channels: the channels that were asked for, as pipeline.channel_choice.parse returns them.

    Parameters
    ----------
    path: of the file.
    page: from 0; None for the main picture.
    kind: of the file.
    lenient: whether to ignore harmless warnings of the decoder.
    """

    KINDS: ClassVar[frozenset[str]] = frozenset()
    FAIL_ON: ClassVar[tuple[str, str]] = ("error", "error")

    def __init__(self, path: Path, page: int | None = 0, *, kind: str = "", lenient: bool = False) -> None:
        self.path = path
        self._asked_page = page
        self.kind = kind
        self.lenient = lenient
        self.notes: list[str] = []
        self.hidden: pyvips.Image | None = None
        self.samples = ""
        self.missing: Missing | None = None
        self.channels: tuple[str, ...] = ()
        self._overlooked: list[str] = []

    @cached_property
    def page(self) -> int:
        """The page that is read, from 0. The main picture is found at first use, when the process is confined.

        Raises
        ------
        StageError: page_not_found, if the file has no main picture.
        """
        return self._main_page() if self._asked_page is None else self._asked_page

    @property
    def is_main(self) -> bool:
        """Whether the page is read because it is the main picture."""
        return self._asked_page is None

    def take_all(self) -> tuple[int, ...]:
        """Read the first of the pages to show if all are asked for. Return the numbers of all, at least one.

        Must be called before the page is read.

        Raises
        ------
        As `open`.
        """
        self._asked_page = 0
        return tuple(range(max(1, self.header().pages)))

    @property
    def number(self) -> int:
        """The number by which the page is asked for, from 0: `page`, unless one page stands for several images."""
        return self.page

    @property
    def is_composed(self) -> bool:
        """Whether its layers are channels to compose, and not the page itself."""
        return True

    def prepare(self) -> None:
        """Load the libraries needed to read the file. Must be called before the process is confined."""
        listen()

    def open(self, **options: int) -> pyvips.Image:
        """Open the page, to be read once from top to bottom.

        Parameters
        ----------
        options: of libvips' loader, to open a smaller version of the page. `page` overrides the reader's page.

        Raises
        ------
        StageError: page_not_found, unsupported_format, image_corrupt, image_truncated.
        pyvips.Error: if libvips cannot open the file.
        """
        return self._load(**options)

    def header(self) -> Header:
        """Return the header of the page; raises as `open`."""
        return self._opened[0]

    def layers(self) -> tuple[Layer, ...]:
        """Return the channels to compose instead of showing the page; none for a page that is shown as it is.

        Raises
        ------
        StageError: channel_not_found; and as `open`.
        """
        if self.channels:
            kind = IMAGES.get(self.kind, self.kind.upper())
            raise StageError("channel_not_found", f"The {kind} has no channels to choose from: leave out `channels`.")
        return ()

    def again(self) -> Reader:
        """Return a new reader of the same page and channels."""
        found = type(self)(self.path, self._asked_page, kind=self.kind)
        found.channels = self.channels
        if self._asked_page is None:
            found.__dict__["page"] = self.page  # it is cached
        return found

    def smaller(self, edge: int) -> pyvips.Image | None:
        """Open a smaller version of the page, or return None if there is no cheap one.

        Parameters
        ----------
        edge: desired least length of the longer edge, in pixels.

        Raises
        ------
        As `open`, and struct.error.
        """
        return None

    def part(self, pixels: int) -> Reader | None:
        """Return a reader of some parts of the page, evenly spread; None if they are not cheap to read.

        Parameters
        ----------
        pixels: desired number of pixels.

        Raises
        ------
        As `open`, and struct.error, OSError.
        """
        return None

    def memory(self, tile_size: int) -> int:
        """Estimate from the header the most memory that tiling needs, in bytes; raises as `open`."""
        image = self._load()
        return memory_of(image, header_of(image), tile_size, self._held_bytes())

    def work(self, tile_size: int) -> budget.Work:
        """Estimate the work of tiling from the header and the frames; raises as `open`.

        Raises
        ------
        StageError: decoder_too_slow, if the file lists the same bytes to be decoded again and again.
        """
        header, each = self._opened
        with self.path.open("rb") as file:
            return budget.work_of(header, file, self.page, tile_size=tile_size, pixel_bytes=each)

    def require_sound_layout(self) -> None:
        """Check the file's structure where the decoder does not, without reading all of the file.

        Raises
        ------
        StageError: decoder_too_slow, image_corrupt.
        """

    def require_sound_data(self) -> None:
        """Check the file's data where the decoder does not, by reading the file once.

        Raises
        ------
        StageError: image_corrupt, image_truncated.
        pyvips.Error: if the file ends before the page does.
        """

    def salvage(self, reason: str) -> bool:
        """Find out which parts of a damaged page can be decoded. From then on, `open` returns these and sets `missing`.

        Parameters
        ----------
        reason: why the page cannot be decoded as a whole, as a sentence.

        Returns
        -------
        False if nothing can be decoded.

        Raises
        ------
        As `open`, and OSError, struct.error.
        """
        return False

    def remarks(self) -> list[Warned]:
        """Return what is to know about the file although its pixels are shown. Must be called after the decoding."""
        return [Warned("decoder_remark", f"The decoder remarked: {text}.") for text in self._overlooked]

    def shown_by(self) -> frozenset[str]:
        """Return the names (tiler.decode.metadata) of the file's metadata that changes the shown image.

        The names include broken metadata, which the decoder leaves out.
        """
        return frozenset()

    def pixel_size(self) -> PixelSize | None:
        """Return how large a pixel of the page is, before its orientation is applied; None if the file does not say it.

        Raises
        ------
        struct.error, ValueError, ArithmeticError: if the file says it in a broken way.
        """
        return None

    def georeference(self) -> Georeference | None:
        """Return where the page lies, before its orientation is applied; None if the file does not say it.

        Raises
        ------
        As `pixel_size`.
        """
        return None

    @property
    def is_quiet(self) -> bool:
        """Whether damage is reported in libvips' error buffer only: see tiler.decode.decoder_messages."""
        return False

    def colour_space(self) -> ColourSpace | None:
        """Return the colour space that the file names by code points, or None. Must be called after `open`.

        A file may have it beside an ICC profile, or instead of one.
        """
        return None

    @property
    def states_colours(self) -> bool:
        """Whether the file states, otherwise than by a profile, which colours its samples are. Call it after `open`."""
        return self.colour_space() is not None

    def stated_range(self) -> tuple[float, float] | None:
        """Return the samples that the file states as its least and greatest, or None."""
        return None

    def display_range(self) -> tuple[float, float] | None:
        """Return the samples of more than 8 bits that the file's writer showed as black and as white, or None."""
        return None

    def range_of_bits(self) -> tuple[float, float] | None:
        """Return the least and the greatest sample that the file's bits allow; None if those of their type."""
        return None

    @property
    def is_reversed(self) -> bool:
        """Whether the greatest of the signed or float samples is black."""
        return False

    def is_transparency(self, bands: int) -> bool:
        """Return whether the last of `bands` is transparency; there is one band more than there are colours."""
        return True

    @contextmanager
    def heeded(self, *, to_end: bool = True) -> Iterator[None]:
        """Watch one call that decodes the source: see tiler.decode.decoder_messages. Each call needs its own context.

        Parameters
        ----------
        to_end: whether the image is then read to its end. If not, further calls go on where this one stopped.

        Raises
        ------
        pyvips.Error: if the call succeeded although some of the pixels were not decoded.
        """
        with heard() as words:
            yield
        if (missing := self._missing(words)) is not None:
            raise pyvips.Error("a part of the image could not be decoded", missing)

    def cause(self, error: Exception) -> Exception:
        """Return what made the decoding fail: `error`, or a cause that libvips does not know."""
        return error

    def overlook(self, error: Exception) -> bool:
        """Become lenient if `error` is a harmless warning. Return whether to try again."""
        if self.lenient:
            return False
        with self.path.open("rb") as file:
            self.lenient = self._is_harmless(said_by(error), file)
        if self.lenient:
            self._overlooked.append(said_by(error).strip().rpartition("\n")[2].strip(" ."))
        return self.lenient

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        """Return whether a decoder's message does not concern the pixels."""
        return False

    def _missing(self, words: Words) -> str | None:
        """Return the messages of a decoding that show that pixels are missing; None if there are none."""
        return painted(words.remarks) or None

    def _held_bytes(self) -> int:
        """Return the bytes that the decoder holds in memory beyond what the header implies."""
        return 0

    @cached_property
    def _opened(self) -> tuple[Header, int]:
        """The header, and the bytes of a decoded pixel. Cached, since opening a TIFF visits all of its pages."""
        image = self._load()
        return header_of(image), pixel_bytes(image)

    def _main_page(self) -> int:
        """Return the number of the main picture; raises as `page`."""
        return 0

    def _refuse(self, page: int, subifd: int | None) -> None:
        """Raise StageError for a page that libvips opens but shows wrongly."""
        with self.path.open("rb") as file:
            require_developed(self.kind, file)

    def _load(self, **options: int) -> pyvips.Image:
        """Open the page with libvips alone; raises as `open`."""
        self._refuse(options.get("page", self.page), options.get("subifd"))
        if options:
            return self._by_libvips(**({"page": self.page} if self.page else {}) | options)
        image = self._by_libvips()
        self._require_kind(image)
        require_page(header_of(image), self.page)
        return image if self.page == 0 else self._by_libvips(page=self.page)

    def _require_kind(self, image: pyvips.Image) -> None:
        """Raise StageError("unsupported_format") if libvips sees another format than the file's first bytes name."""
        found = header_of(image).format
        if {"avif": "heif"}.get(found, found) != self.kind:
            raise StageError("unsupported_format", f"The file does not begin like a {found.upper()}. Save it again.")

    def _by_libvips(self, **options: int) -> pyvips.Image:
        return pyvips.Image.new_from_file(str(self.path), **self._settings(**options), **options)

    def _settings(self, page: int = 0, subifd: int | None = None, **_: int) -> dict[str, str | bool]:
        """Return the options of libvips' loader for a page."""
        return {"access": "sequential", "fail_on": self.FAIL_ON[self.lenient]}
