"""What a reader of image files offers, and how libvips by itself does it.

A reader of one more format is a class derived from `Reader` that overrides what differs, and a line in
tiler.decode.registry.
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
from pipeline.formats.header import Header, header_of, memory_of, pixel_bytes, require_page
from pipeline.formats.raw_photographs import require_developed
from tiler.decode.remarks import painted
from tiler.decode.witness import Words, heard, listen


class Reader:
    """Reads one page of one stored source; opens the file anew each time that it is asked for pixels.

    Attributes
    ----------
    KINDS: of files (pipeline.formats.kinds) that it reads.
    FAIL_ON: libvips' `fail_on`, strict and lenient.
    notes: what `open` did to the pixels that the decoder gave, in words for pyramid.json.

    Parameters
    ----------
    path: of the file.
    page: from 0.
    kind: of the file.
    lenient: whether a harmless remark of its decoder is overlooked.
    """

    KINDS: ClassVar[frozenset[str]] = frozenset()
    FAIL_ON: ClassVar[tuple[str, str]] = ("error", "error")

    def __init__(self, path: Path, page: int = 0, *, kind: str = "", lenient: bool = False) -> None:
        self.path = path
        self.page = page
        self.kind = kind
        self.lenient = lenient
        self.notes: list[str] = []

    def prepare(self) -> None:
        """Load what it takes to read the file. Called before the process is confined."""
        listen()

    def open(self, **options: int) -> pyvips.Image:
        """Open the page anew, to be read once from top to bottom.

        Parameters
        ----------
        options: of libvips' loader, for a smaller version of the page; `page` overrides the reader's own.

        Raises
        ------
        StageError: page_not_found, unsupported_format, image_corrupt, image_truncated.
        pyvips.Error: where libvips cannot open the file.
        """
        return self._load(**options)

    def header(self) -> Header:
        """Give what the header says; raises as `open`."""
        return self._opened[0]

    def smaller(self, edge: int) -> pyvips.Image | None:
        """Give a smaller version of the page where that is cheap; None where it is not.

        Parameters
        ----------
        edge: pixels that its longer edge should have at least.

        Raises
        ------
        As `open`, and struct.error.
        """
        return None

    def memory(self, tile_size: int) -> int:
        """Give the bytes that tiling takes at most, by the header; raises as `open`."""
        image = self._load()
        return memory_of(image, header_of(image), tile_size, self._held_bytes())

    def work(self, tile_size: int) -> budget.Work:
        """Estimate what tiling takes, by the header and the frames; raises as `open`.

        Raises
        ------
        StageError: decoder_too_slow, where the file is listed to be decoded far beyond its size.
        """
        header, each = self._opened
        with self.path.open("rb") as file:
            return budget.work_of(header, file, self.page, tile_size=tile_size, pixel_bytes=each)

    def require_sound_layout(self) -> None:
        """Check what neither header nor decoder says, without reading all of the file.

        Raises
        ------
        StageError: decoder_too_slow, image_corrupt.
        """

    def require_sound_data(self) -> None:
        """Read the file once to check what its decoder does not.

        Raises
        ------
        StageError: image_corrupt, image_truncated.
        pyvips.Error: where the file ends before the page does.
        """

    @property
    def is_quiet(self) -> bool:
        """Whether only libvips' error buffer tells of damage: see tiler.decode.witness."""
        return False

    @property
    def is_reversed(self) -> bool:
        """Whether the greatest of its signed or floating samples stand for black."""
        return False

    def is_transparency(self, bands: int) -> bool:
        """Tell whether the last of `bands`, one more than the colours, is transparency."""
        return True

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Decode the source within, by one call: see tiler.decode.witness.heard. Each decoding needs one of its own.

        Raises
        ------
        pyvips.Error: where the call succeeded, and some of the pixels were not decoded.
        """
        with heard() as words:
            yield
        if (missing := self._missing(words)) is not None:
            raise pyvips.Error("a part of the picture could not be decoded", missing)

    def cause(self, error: Exception) -> Exception:
        """Give what made the decoding fail: `error`, or what libvips could not tell."""
        return error

    def overlook(self, error: Exception) -> bool:
        """Be lenient from now on if `error` is a harmless remark; tells whether to try again."""
        if self.lenient:
            return False
        with self.path.open("rb") as file:
            self.lenient = self._is_harmless(str(error), file)
        return self.lenient

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        """Tell whether what a decoder said leaves the pixels as they are."""
        return False

    def _missing(self, words: Words) -> str | None:
        """Give what was said during a decoding that shows that pixels are missing; None where nothing was."""
        return painted(words.remarks) or None

    def _held_bytes(self) -> int:
        """Give the bytes that the decoder holds besides what the header implies."""
        return 0

    @cached_property
    def _opened(self) -> tuple[Header, int]:
        """The header, and the bytes of a decoded pixel; once, since a TIFF is opened by all of its pages."""
        image = self._load()
        return header_of(image), pixel_bytes(image)

    def _refuse(self, page: int, subifd: int | None) -> None:
        """Raise StageError for a page that libvips opens, and shows wrongly."""
        with self.path.open("rb") as file:
            require_developed(self.kind, file)

    def _load(self, **options: int) -> pyvips.Image:
        """Open the page by libvips alone; raises as `open`."""
        self._refuse(options.get("page", self.page), options.get("subifd"))
        if options:
            return self._by_libvips(**({"page": self.page} if self.page else {}) | options)
        image = self._by_libvips()
        self._require_kind(image)
        require_page(header_of(image), self.page)
        return image if self.page == 0 else self._by_libvips(page=self.page)

    def _require_kind(self, image: pyvips.Image) -> None:
        """Raise StageError("unsupported_format") where libvips took a file for another format than its kind says."""
        found = header_of(image).format
        if {"avif": "heif"}.get(found, found) != self.kind:
            raise StageError("unsupported_format", f"The file does not begin as a {found.upper()} does. Save it again.")

    def _by_libvips(self, **options: int) -> pyvips.Image:
        return pyvips.Image.new_from_file(str(self.path), **self._settings(**options), **options)

    def _settings(self, page: int = 0, subifd: int | None = None, **_: int) -> dict[str, str | bool]:
        """Give how libvips' loader is set for a page."""
        return {"access": "sequential", "fail_on": self.FAIL_ON[self.lenient]}
