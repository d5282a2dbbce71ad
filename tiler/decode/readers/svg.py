"""Read SVG. If an edge is too long for libvips' integers, libvips opens the image with an edge of one pixel."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from pipeline.errors import StageError
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.reader import Reader


class SvgReader(Reader):
    """Reads an SVG, if the operator allows that format."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"svg"})

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        found = self._by_libvips()
        if 1 not in {found.width, found.height}:
            return
        with suppress(*ERRORS):  # too long an edge may also raise
            larger = self._by_libvips(scale=3)
            if found.width < larger.width and found.height < larger.height:
                return
        raise StageError("image_too_large", "An edge of the SVG has too many pixels to be counted.")
