"""A JPEG as libjpeg reads it by way of libvips."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import BinaryIO, ClassVar

import pyvips

from pipeline.formats.header import is_interlaced
from tiler.decode.reader import Reader
from tiler.decode.readers.jpeg.scans import require_sound_scans
from tiler.decode.readers.jpeg.segments import has_odd_scan, has_stray_bytes
from tiler.decode.smaller import is_cheap, shows_all
from tiler.decode.witness import heard

HARMLESS = re.compile(
    "Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code|unknown JFIF revision number"
    "|bad ICC marker"
)
"""Remarks of libjpeg (jerror.h) that files of several cameras and programs give rise to: not about the pixels."""

STRAY = "extraneous bytes before marker"
"""libjpeg's remark on bytes that belong to nothing: harmless before the pixels, and a sign of damage among them."""

COUNTED = re.compile(r"read gave (\d+) warnings")
"""What libvips says when it is done with a JPEG that libjpeg remarked on."""

_SHRINKS = (8, 4, 2)
"""Divisors that libjpeg offers."""


class JpegReader(Reader):
    """Reads a JPEG: strictly at first, leniently where libjpeg's only remark is harmless."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"jpeg"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("warning", "error")

    def require_sound_layout(self) -> None:
        """As Reader.require_sound_layout: the scans of a JPEG that has several."""
        if is_interlaced(self.open()):
            with self.path.open("rb") as file:
                require_sound_scans(file)

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: a baseline JPEG decoded at a fraction of its size, else the thumbnail that it carries."""
        image, header = self.open(), self.header()
        if not (image.get_typeof("jpeg-multiscan") and image.get("jpeg-multiscan")):
            longest = max(header.width, header.height)
            return self.open(shrink=next((shrink for shrink in _SHRINKS if longest >= shrink * edge), 1))
        if not image.get_typeof("jpeg-thumbnail-data"):
            return None
        small = pyvips.Image.jpegload_buffer(image.get("jpeg-thumbnail-data"), fail_on="error").copy()
        if not (shows_all(small.width, small.height, header) and is_cheap(small.width, small.height, header)):
            return None
        turned = image.get("orientation") if image.get_typeof("orientation") else 1
        small.set_type(pyvips.GValue.gint_type, "orientation", turned)
        return small

    def overlook(self, error: Exception) -> bool:
        """As Reader.overlook.

        libjpeg words its first remark alone, and counts the others: whether any follows is found out by decoding.
        """
        if not super().overlook(error):
            return False
        with self.path.open("rb") as file:
            before_pixels = has_odd_scan(file)
        in_all, in_header = self._remarks(decode=True), self._remarks(decode=False)
        self.lenient = 0 < in_all <= in_header + before_pixels
        return self.lenient

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        return bool(HARMLESS.search(text)) or (STRAY in text and has_stray_bytes(file))

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
