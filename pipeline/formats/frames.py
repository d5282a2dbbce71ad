"""List the frames of an animation, and where each lies on the canvas. Pure functions.

Sources: the GIF 89a specification; the WebP container specification (RFC 9649).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from pipeline.formats.tiff import File

_FRAME, _EXTENSION = b"\x2c", b"\x21"
HAS_TABLE = 0x80


class Frame(NamedTuple):
    """A frame's place on the canvas, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def of_gif(file: File) -> Iterator[Frame]:
    """Yield the frames of a GIF in order, as far as the file can be read."""
    with suppress(struct.error):
        file.seek(10)
        skip_table(file, *struct.unpack("<B2x", file.read(3)))
        while (block := file.read(1)) in {_FRAME, _EXTENSION}:
            if block == _FRAME:
                *place, flags = struct.unpack("<HHHHB", file.read(9))
                yield Frame(*place)
                skip_table(file, flags)
            file.read(1)  # an extension's label, or the code size of a frame
            while length := file.read(1):
                if length == b"\0":
                    break
                file.seek(file.tell() + length[0])


def of_webp(file: File) -> Iterator[Frame]:
    """Yield the frames of an animated WebP in order, as far as the file can be read; none if it is not animated."""
    with suppress(struct.error):
        at = 12
        while True:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"ANMF":
                left, top, width, height = (int.from_bytes(file.read(3), "little") for _ in range(4))
                yield Frame(2 * left, 2 * top, width + 1, height + 1)
            at += 8 + length + length % 2


OF: dict[str, Callable[[File], Iterator[Frame]]] = {"gif": of_gif, "webp": of_webp}
"""The function for each format of a header."""


def skip_table(file: File, flags: int) -> None:
    """Skip the colour table that comes next in a GIF, if the flags say that there is one."""
    if flags & HAS_TABLE:
        file.seek(file.tell() + (3 << ((flags & 7) + 1)))
