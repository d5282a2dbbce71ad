"""Read WebP. libvips decodes all frames of an animation, whichever frame is requested; so their number is limited.

Source: RFC 9649, 2.7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, ClassVar

from pipeline.formats import budget
from pipeline.formats.decoder_errors import damaged
from tiler.decode.metadata import EXIF, PROFILE
from tiler.decode.reader import Reader

_EXTENDED = b"VP8X"
_METADATA = ((b"ICCP", 0x20, PROFILE), (b"EXIF", 0x08, EXIF))
"""Chunks of metadata, their flags in the extended header, and libvips' names of them."""

_EXTENDED_SIZE = 10
_ALPHA_FLAG = 0x10
_ALPHA, _LOSSY, _LOSSLESS, _ANIMATED = b"ALPH", b"VP8 ", b"VP8L", b"ANIM"

_HEADER = struct.Struct("<4sI")
_FIRST = 12


class WebpReader(Reader):
    """Reads a WebP that does not have too many frames."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"webp"})
    _is_counted = False

    def shown_by(self) -> frozenset[str]:
        """As Reader.shown_by. libvips leaves out a chunk that the extended header does not announce."""
        names, flags = set(), 0
        with self.path.open("rb") as file:
            for name, _, first in _chunks(file):
                names.add(name)
                if name == _EXTENDED:
                    flags = first
        return frozenset(found for name, flag, found in _METADATA if name in names or flags & flag)

    def _refuse(self, page: int, subifd: int | None) -> None:
        super()._refuse(page, subifd)
        if not self._is_counted:
            with self.path.open("rb") as file:
                budget.require_few_frames(self.kind, file)
                _require_consistent(file)
            self._is_counted = True


def _require_consistent(file: BinaryIO) -> None:
    """Raise StageError("image_corrupt") if the header and the chunks of a still image disagree on its transparency.

    libwebp then shows the image without it. A lossless image needs no chunk of its own for it.
    """
    flags, has_alpha = 0, False
    for name, length, first in _chunks(file):
        if name == _EXTENDED:
            if length != _EXTENDED_SIZE:
                raise damaged(f"its VP8X chunk has {length:,} bytes instead of {_EXTENDED_SIZE}")
            flags = first
        if name in {_ANIMATED, _LOSSLESS}:
            return
        has_alpha |= name == _ALPHA
        if name == _LOSSY:
            if has_alpha != bool(flags & _ALPHA_FLAG):
                raise damaged("its header and its chunks disagree on transparency")
            return


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, length and first byte of each chunk, as far as the file can be read."""
    at = _FIRST
    with suppress(struct.error):
        while True:
            file.seek(at)
            name, length = _HEADER.unpack(file.read(_HEADER.size))
            yield name, length, int.from_bytes(file.read(1), "little")
            at += _HEADER.size + length + length % 2
