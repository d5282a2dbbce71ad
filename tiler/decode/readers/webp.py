"""Read WebP. libvips decodes all frames of an animation, whichever frame is requested; so their number is limited.

Source: RFC 9649, 2.7.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import ClassVar

from pipeline.formats import budget
from tiler.decode.metadata import EXIF, PROFILE
from tiler.decode.reader import Reader

_EXTENDED = b"VP8X"
_METADATA = ((b"ICCP", 0x20, PROFILE), (b"EXIF", 0x08, EXIF))
"""Chunks of metadata, their flags in the extended header, and libvips' names of them."""

_HEADER = struct.Struct("<4sI")
_FIRST = 12


class WebpReader(Reader):
    """Reads a WebP that does not have too many frames."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"webp"})
    _is_counted = False

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libvips leaves out a chunk that the extended header does not announce."""
        names, flags = set(), 0
        with self.path.open("rb") as file, suppress(struct.error):
            at = _FIRST
            while True:
                file.seek(at)
                name, length = _HEADER.unpack(file.read(_HEADER.size))
                names.add(name)
                if name == _EXTENDED:
                    flags = int.from_bytes(file.read(1), "little")
                at += _HEADER.size + length + length % 2
        return frozenset(found for name, flag, found in _METADATA if name in names or flags & flag)

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        if not self._is_counted:
            with self.path.open("rb") as file:
                budget.require_few_frames(self.kind, file)
            self._is_counted = True
