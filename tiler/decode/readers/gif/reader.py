"""Read GIF with libvips, and add the checks and the transparency that libvips leaves out."""

from __future__ import annotations

from typing import ClassVar

import pyvips

from tiler.decode.missing import Missing
from tiler.decode.prefix import Prefix
from tiler.decode.reader import Reader
from tiler.decode.readers.gif.canvas import canvas_of, with_transparent_frames, with_uncovered_transparent
from tiler.decode.readers.gif.codes import has_full_frames, lost_rows


class GifReader(Reader):
    """Reads a GIF. It stays strict when lenient: with `fail_on="error"` libvips fills up a frame that ends early."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"gif"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("warning", "warning")
    _prefix: Prefix | None = None

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open."""
        image = super().open(**options)
        page = options.get("page", self.page)
        with self.path.open("rb") as file:
            canvas = canvas_of(file, page, image.width, image.height)
            if image.hasalpha() and canvas.uncleared:
                source = with_transparent_frames(file, canvas.uncleared)
                options = options | {"page": page}
                del image  # libvips unmaps the file
                image = pyvips.Image.new_from_source(source, "", **self._settings(**options), **options)
        covered = with_uncovered_transparent(image, canvas)
        self.notes = ["transparent where no frame covers the canvas"] if covered is not image else []
        return covered

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the rows of the page's frame before the first fault, and the frames before it."""
        with self.path.open("rb") as file:
            lost = lost_rows(file, self.page)
        if lost is None:
            return False
        self._prefix = Prefix(self.path, lost.end)
        image = self._by_libvips(page=self.page)
        # Some programs wrote canvas sizes that they did not mean, and libvips then shows the frame alone.
        is_canvas = lost.canvas == (image.width, image.height)
        left, top = (lost.left, lost.top) if is_canvas else (0, max(0, image.height - lost.height))

        def mask() -> pyvips.Image:
            black = pyvips.Image.black(lost.width, lost.height)
            return black.invert().embed(left, top, image.width, image.height)

        self.missing = Missing(f"{lost.height:,} rows of frame {self.page} of the GIF", reason, mask)
        return True

    def _by_libvips(self, **options: int) -> pyvips.Image:
        if self._prefix is None:
            return super()._by_libvips(**options)
        return self._prefix.open(access="sequential", fail_on="none", **options)

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: libvips accepts a frame whose codes end early."""
        with self.path.open("rb") as file:
            if not has_full_frames(file, self.page):
                raise pyvips.Error("gif: its frames end before the page")
