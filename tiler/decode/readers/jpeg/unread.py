"""Find out whether data of a JPEG's only scan is left when its last row is decoded.

libjpeg stops at the last block, and libvips does not make it look at what follows. If bytes were inserted into a scan
without restart markers, libjpeg decodes noise, falls into step again, and has its blocks before the data ends: each
block behind the noise is shown at a wrong place, and there is no warning. So the file is handed to libjpeg in pieces
that become smaller towards the end of the scan, and single bytes at last. libjpeg reads up to eight bytes ahead: fewer
that are left are not noticed.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import BinaryIO

import pyvips

from tiler.decode.readers.jpeg.scans import begin_of_only_scan
from tiler.decode.readers.jpeg.segments import has_several_images

END = b"\xff\xd9"
"""The end marker (EOI). In coded data, 0xFF is followed by 0 or by the number of a restart marker."""

_STEPS = 4
"""A piece has a quarter of the bytes to the end of the scan: few calls, and little uncertainty."""

_CHUNK = 1 << 20


def end_of_only_scan(file: BinaryIO) -> int | None:
    """Return where the data of a sequential JPEG ends that has a single scan; None for another JPEG, or a cut one.

    It is the place of the file's first end marker, or of its last bytes if these are one. A later image in the same
    file, or segments between the data and the marker, are not looked for: that would take a pass over the file.
    """
    if (begin := begin_of_only_scan(file)) is None:
        return None
    size = file.seek(0, os.SEEK_END)
    file.seek(max(begin, size - len(END)))
    is_last = file.read() == END and not has_several_images(file)
    return size - len(END) if is_last else first_end(file, begin)


def first_end(file: BinaryIO, begin: int) -> int | None:
    """Return the place of the first end marker from a place on; None if there is none."""
    place, before = begin, b""
    file.seek(begin)
    while chunk := file.read(_CHUNK):
        if (found := (before + chunk).find(END)) >= 0:
            return place - len(before) + found
        place, before = place + len(chunk), chunk[-1:]
    return None


class Unread:
    """A file of which it is known how much of its beginning was read.

    Parameters
    ----------
    path: of the file.
    end: the place up to which it should be read.

    Attributes
    ----------
    farthest: the place behind the last byte that was read.
    """

    def __init__(self, path: Path, end: int) -> None:
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self.end = end
        self._place = 0
        self.farthest = 0
        self._source = pyvips.SourceCustom()
        # pyvips' own on_read copies each piece once more.
        self._source.signal_connect("read", self._read)
        self._source.signal_connect("seek", self._seek)

    def open(self, **options: str | bool) -> pyvips.Image:
        """Open it as an image; this object has to live as long as the image. Raises pyvips.Error."""
        # To choose a loader, libvips might read the whole file.
        return pyvips.Image.jpegload_source(self._source, **options)

    def _read(self, buffer: memoryview) -> int:
        left = self.end - self._place
        size = len(buffer) if left <= 0 else min(len(buffer), max(1, left // _STEPS))
        read = self._file.readinto(memoryview(buffer)[:size])
        self._place += read
        self.farthest = max(self.farthest, self._place)
        return read

    def _seek(self, offset: int, whence: int) -> int:
        self._place = self._file.seek(offset, whence)
        return self._place
