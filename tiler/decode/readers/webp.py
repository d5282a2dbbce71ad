"""Read WebP. libvips decodes all frames of an animation, whichever frame is requested; so their number is limited."""

from __future__ import annotations

from typing import ClassVar

from pipeline.formats import budget
from tiler.decode.reader import Reader


class WebpReader(Reader):
    """Reads a WebP that does not have too many frames."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"webp"})
    _is_counted = False

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        if not self._is_counted:
            with self.path.open("rb") as file:
                budget.require_few_frames(self.kind, file)
            self._is_counted = True
