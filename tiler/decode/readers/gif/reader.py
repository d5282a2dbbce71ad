"""Read GIF with libvips, and add the checks and the transparency that libvips leaves out."""

from __future__ import annotations

from typing import ClassVar

import pyvips

from tiler.decode.reader import Reader
from tiler.decode.readers.gif.canvas import canvas_of, with_transparent_frames, with_uncovered_transparent
from tiler.decode.readers.gif.codes import has_full_frames


class GifReader(Reader):
    """Reads a GIF. It stays strict when lenient: with `fail_on="error"` libvips fills up a frame that ends early."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"gif"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("warning", "warning")

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

    def require_sound_data(self) -> None:
        """As Reader.require_sound_data: libvips accepts a frame whose codes end early."""
        with self.path.open("rb") as file:
            if not has_full_frames(file, self.page):
                raise pyvips.Error("gif: its frames end before the page")
