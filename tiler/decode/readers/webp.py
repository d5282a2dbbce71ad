"""WebP: libvips reads all frames of an animation, whichever of them is asked for."""

from __future__ import annotations

from typing import ClassVar

from pipeline.formats import budget
from tiler.decode.reader import Reader


class WebpReader(Reader):
    """Reads a WebP of not too many frames."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"webp"})
    _is_counted = False

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        if not self._is_counted:
            with self.path.open("rb") as file:
                budget.require_few_frames(self.kind, file)
            self._is_counted = True
