"""Read JPEG with libvips, which uses libjpeg."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import BinaryIO, ClassVar

import pyvips

from pipeline.formats import density
from pipeline.formats.decoder_errors import damaged
from pipeline.formats.header import is_interlaced
from pipeline.pixel_size import PixelSize
from tiler.decode.decoder_messages import Words, heard
from tiler.decode.libvips_texts import ERRORS
from tiler.decode.metadata import PROFILE
from tiler.decode.missing import Warned, no_pixels_missing, only_rows, rows_missing
from tiler.decode.prefix import Prefix
from tiler.decode.reader import Reader
from tiler.decode.readers.jpeg.damage import rows_before_last_interval, sound_rows_of, sound_scans
from tiler.decode.readers.jpeg.entropy import MOST_BYTES, Broken, stray_bytes
from tiler.decode.readers.jpeg.scans import begin_of_only_scan, require_sound_scans
from tiler.decode.readers.jpeg.segments import has_odd_scan, has_profile, has_stray_bytes, segments
from tiler.decode.readers.jpeg.unread import END, Unread, end_of_only_scan, first_end
from tiler.decode.smaller_versions import is_cheap, shows_all

HARMLESS = re.compile(
    "Invalid SOS parameters for sequential JPEG|Unknown Adobe color transform code|unknown JFIF revision number"
    "|bad ICC marker"
)
"""Warnings of libjpeg (jerror.h) about files of several cameras and programs. They do not concern the pixels."""

STRAY = "extraneous bytes before marker"
"""libjpeg's warning about bytes outside of any segment: harmless before the pixels and behind the last block of a scan,
a sign of damage among the blocks. See tiler.decode.readers.jpeg.entropy."""

JPEG = "VipsJpeg"
"""Beginning of libvips' lines that quote libjpeg."""

COUNTED = re.compile(r"read gave (\d+) warnings")
"""libvips' message when it closes a JPEG about which libjpeg gave warnings."""

_SHRINKS = (8, 4, 2)
"""The divisors of the size by which libjpeg can decode."""


class JpegReader(Reader):
    """Reads a JPEG: strictly at first, then leniently if all warnings of libjpeg are harmless."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"jpeg"})
    FAIL_ON: ClassVar[tuple[str, str]] = ("warning", "error")
    _rows: range | None = None
    _scans: Prefix | None = None
    _stray: Sequence[int] = ()
    _unread: tuple[Unread, ...] = ()
    _read_before: dict[Unread, int] | None = None
    _has_odd_blocks: bool | None = None

    def open(self, **options: int) -> pyvips.Image:
        """As Reader.open."""
        image = super().open(**options)
        if self._scans is not None:
            return self._scans.open(access="sequential", fail_on="error")
        if self._rows is not None:
            return only_rows(image, self._rows)
        end = None if options or image.get("vips-loader") != "jpegload" else self._end
        if end is None:
            return image
        # Kept, since each has to live as long as its image.
        self._unread = (*self._unread, unread := Unread(self.path, end))
        return unread.open(**self._settings())

    @contextmanager
    def heeded(self, *, to_end: bool = True) -> Iterator[None]:
        """As Reader.heeded.

        Raises
        ------
        StageError: image_corrupt, if the data of a JPEG's only scan is not read up to its end, and the rest is not
        harmless.
        """
        before = self._read_before or {unread: unread.farthest for unread in self._unread}
        with super().heeded(to_end=to_end):
            yield
        self._read_before = None if to_end else before
        if not to_end:
            return
        for unread in self._unread:
            if before.get(unread, 0) < unread.farthest < unread.end:
                self._require_sound_blocks(unread.farthest)

    def require_sound_layout(self) -> None:
        """As Reader.require_sound_layout: checks the scans of a JPEG that has several."""
        if self._scans is None and is_interlaced(self._load()):
            with self.path.open("rb") as file:
                require_sound_scans(file)

    def smaller(self, edge: int) -> pyvips.Image | None:
        """As Reader.smaller: decodes a baseline JPEG at a fraction of its size, or opens the embedded thumbnail."""
        image, header = self._load(), self.header()
        if not is_interlaced(image):
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

    def salvage(self, reason: str) -> bool:
        """As Reader.salvage: keeps the rows before the first fault, or the scans of a progressive JPEG before it."""
        header = self._by_libvips()
        if is_interlaced(header):
            self._scans = sound_scans(self.path)
            if self._scans is None:
                return False
            self.missing = no_pixels_missing(reason)
            return True
        with self.path.open("rb") as file:
            if self._has_odd_blocks:
                good = rows_before_last_interval(file, header.width, header.height)
            else:
                good = sound_rows_of(header, file)
        if not good:
            return False
        self._rows = range(good)
        self.missing = rows_missing(self._rows, header.width, header.height, reason)
        return True

    @property
    def is_quiet(self) -> bool:
        """As Reader.is_quiet: true for a baseline JPEG. Others are decoded before their first row is read."""
        return not (self.lenient or self.missing) and not is_interlaced(self._by_libvips())

    def pixel_size(self) -> PixelSize | None:
        """As Reader.pixel_size: by JFIF's or EXIF's density."""
        with self.path.open("rb") as file:
            return density.of_jpeg(segments(file))

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libvips leaves out a profile whose first part is missing."""
        with self.path.open("rb") as file:
            return frozenset({PROFILE}) if has_profile(file) else frozenset()

    def overlook(self, error: Exception) -> bool:
        """As Reader.overlook.

        libjpeg prints only its first warning and counts the others. The image is decoded once to get that count.
        """
        if not super().overlook(error):
            return False
        with self.path.open("rb") as file:
            before_pixels = has_odd_scan(file)
        in_all, in_header = self._remarks(decode=True), self._remarks(decode=False)
        behind = sum(1 for count in self._stray if count)
        self.lenient = 0 < in_all <= in_header + before_pixels + behind
        return self.lenient

    def remarks(self) -> list[Warned]:
        """As Reader.remarks."""
        if self._scans is not None and self.missing is not None:
            text = f"{self.missing.why} The image is shown from the scans before the damage, so it is less sharp."
            return [Warned("image_coarse", text)]
        if not any(self._stray):
            return super().remarks()
        text = f"{sum(self._stray):,} bytes behind the last block of the JPEG were ignored."
        return [Warned("bytes_ignored", text)]

    @cached_property
    def _end(self) -> int | None:
        """As end_of_only_scan, which may take a pass over the file."""
        with self.path.open("rb") as file:
            return end_of_only_scan(file)

    def _is_harmless(self, text: str, file: BinaryIO) -> bool:
        if HARMLESS.search(text) or (STRAY in text and has_stray_bytes(file)):
            return True
        if STRAY in text and self.path.stat().st_size <= MOST_BYTES:
            file.seek(0)
            with suppress(Broken):
                self._stray = stray_bytes(file.read())
        return any(self._stray)

    def _missing(self, words: Words) -> str | None:
        """As Reader._missing. libvips fails at a warning of libjpeg when it reads the next rows: never for the last."""
        late = "" if self.lenient or self.missing else "\n".join(line for line in words.errors if JPEG in line)
        return super()._missing(words) or late or None

    def _require_sound_blocks(self, place: int) -> None:
        """Raise StageError("image_corrupt") if data from a place on was not decoded, and is no harmless rest."""
        if self._has_odd_blocks is None:
            with self.path.open("rb") as file:
                self._has_odd_blocks = self._is_damaged_before(place, file)
        if self._has_odd_blocks:
            raise damaged("data is left behind the last row, so blocks before it are wrong")

    def _is_damaged_before(self, place: int, file: BinaryIO) -> bool:
        """Return whether bytes from a place on show that blocks before it are wrong."""
        end = first_end(file, begin_of_only_scan(file) or 0)
        if end is None or end <= place:
            return False  # the bytes belong to another image in the same file
        if end > MOST_BYTES:
            file.seek(place)
            # Writers fill up with a single value, and coded data never has one.
            rest = file.read(min(end - place, MOST_BYTES))
            self._stray = (len(rest),)
            return len(set(rest)) > 1
        file.seek(0)
        try:
            self._stray = stray_bytes(file.read(end + len(END)))
        except Broken:
            return True
        return False

    def _settings(self, page: int = 0, subifd: int | None = None, **options: int) -> dict[str, str | bool]:
        settings = super()._settings(page, subifd, **options)
        return settings if self._rows is None else settings | {"fail_on": "none"}

    def _remarks(self, *, decode: bool) -> int:
        """Count libjpeg's warnings about the header, or about the whole file.

        libvips' operation cache must be off: it would keep the image open, and libvips reports the count at the close.
        """
        with heard() as words:
            self._touch(decode=decode)
        found = [int(number) for remark in words.remarks for number in COUNTED.findall(remark)]
        return max(found, default=0)

    def _touch(self, *, decode: bool) -> None:
        # libvips reports the count when the image, and the decoder with it, is freed.
        with suppress(*ERRORS):
            image = self.open()
            if decode:
                image.avg()
