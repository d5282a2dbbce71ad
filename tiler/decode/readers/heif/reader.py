"""Read HEIF after a check of all its parts. libvips decodes AVIF, pi-heif decodes HEIC."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import pyvips

from pipeline.errors import StageError
from pipeline.formats import budget
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.header import page_of_decoder
from tiler.decode.colour_spaces import ColourSpace
from tiler.decode.missing import Missing
from tiler.decode.reader import Reader
from tiler.decode.readers.heif.coding import Coding, corrected, is_plain, space_of
from tiler.decode.readers.heif.items import HEVC, Items
from tiler.decode.smaller_versions import shows_all

if TYPE_CHECKING:
    from tiler.decode.readers.heif.salvage import Rest


class HeifReader(Reader):
    """Reads a HEIC or AVIF file."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"heif"})
    _coding: Coding | None = None
    _rest: Rest | None = None

    def prepare(self) -> None:
        """As Reader.prepare: loads the decoders that are installed."""
        super().prepare()
        with suppress(StageError):
            _salvage()
        import_module("tiler.decode.readers.heif.heic")

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open. The embedded thumbnail of an AVIF is opened without a check."""
        header = self._load(**options)
        if options:
            if header.get("heif-compression") == "hevc":
                raise pyvips.Error("heif: smaller versions of a HEIC are not supported")
            return header
        if self._coding is None:
            shown = header.width * header.height
            self._coding = _damage().require_sound(self.path, self.page, header.get("n-pages"), shown)
        if self._coding.codec != HEVC:
            return corrected(header, self._coding)
        from tiler.decode.readers.heif.heic import decoded  # noqa: PLC0415  only HEIC needs it

        source = self.path if self._rest is None else self._rest.data
        return corrected(decoded(source, self.page, header), self._coding)

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the sound tiles of a page that is stored in tiles."""
        try:
            rest = _salvage().rest_of(self.path, self.page)
        except (struct.error, IndexError, KeyError) as error:
            raise damaged(f"HEIF: {error}") from error
        if rest is None:
            return False
        self._rest, self._coding = rest, rest.coding
        vars(self).pop("_opened", None)
        mask, header = rest.mask(), self.header()
        if (mask.width, mask.height) != (header.width, header.height):
            return False
        self.missing = Missing(rest.what, reason, rest.mask)
        return True

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: opens the embedded thumbnail of an AVIF."""
        small, header = self.open(thumbnail=True), self.header()
        with self._file() as file:
            if not is_plain(self._items(file), self.page):
                return None
        return small if small.width < header.width and shows_all(small.width, small.height, header) else None

    @property
    def states_colours(self) -> bool:
        """As Reader.states_colours: samples of a HEIF are colours."""
        return True

    def colour_space(self) -> ColourSpace | None:
        """As Reader.colour_space: taken from the `nclx` property, or the coded pictures."""
        if self._coding is not None:
            return self._coding.space
        with self._file() as file:
            return space_of(self._items(file), self.page)

    def _file(self) -> BinaryIO:
        return self.path.open("rb") if self._rest is None else io.BytesIO(self._rest.data)

    def _items(self, file: BinaryIO) -> Items:
        return Items(file, _damage().items_of(self.path, self.page, self.header().pages))

    def _by_libvips(self, **options: int) -> pyvips.Image:
        if "page" in options:
            options |= {"page": page_of_decoder(super()._by_libvips(), options["page"])}
        if self._rest is None:
            return super()._by_libvips(**options)
        source = pyvips.Source.new_from_memory(self._rest.data)
        return pyvips.Image.new_from_source(source, "", **self._settings(**options), **options)

    def work(self, tile_size: int) -> budget.Work:
        """As Reader.work, including all coded pictures that the page is assembled from."""
        work, header = super().work(tile_size), self.header()
        with self._file() as file, suppress(struct.error, IndexError):
            items = self._items(file)
            parts, passes = items.listed(self.page), items.passes(self.page)
            before = max(0, sum(parts) - header.pixels) + sum(passes)
            return work._replace(before=before, frames=len(parts) + len(passes))
        return work


def _salvage() -> ModuleType:
    """Import the module `salvage`; see `_damage`."""
    _damage()
    return import_module("tiler.decode.readers.heif.salvage")


def _damage() -> ModuleType:
    """Import the module `damage`, which loads the decoders; raises StageError("unsupported_format") without them."""
    try:
        return import_module("tiler.decode.readers.heif.damage")
    except ImportError as error:
        raise StageError("unsupported_format", f"HEIF and AVIF cannot be checked on this machine ({error}).") from error
