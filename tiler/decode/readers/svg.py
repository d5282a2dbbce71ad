"""SVG: libvips opens one with an edge that it cannot count as a picture of one pixel."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

import pyvips

from pipeline.errors import StageError
from tiler.decode.reader import Reader


class SvgReader(Reader):
    """Reads an SVG, where the operator allows it."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"svg"})

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        found = self._by_libvips()
        if 1 not in {found.width, found.height}:
            return
        with suppress(pyvips.Error):  # which comes of such an edge as well
            larger = self._by_libvips(scale=3)
            if found.width < larger.width and found.height < larger.height:
                return
        raise StageError("image_too_large", "The SVG has more pixels to an edge than can be counted here.")
