"""List the frames of an animation, and where each lies on the canvas. Pure functions.

Sources: the GIF 89a specification; the WebP container specification (RFC 9649).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

from pipeline.formats.tiff import File

_FRAME, _EXTENSION, _CONTROL = b"\x2c", b"\x21", b"\xf9"
HAS_TRANSPARENCY = 1
"""Bit of the byte at Frame.control."""

HAS_TABLE, _INTERLACED = 0x80, 0x40


class Disposal(IntEnum):
    """What a viewer does with the area of a GIF's frame before it draws the next one."""

    CLEAR = 2
    RESTORE = 3
    RESTORE_TOO = 4
    """As RESTORE: not in the specification, but browsers and libnsgif treat it so."""


class Frame(NamedTuple):
    """A frame's place on the canvas, in pixels.

    Parameters
    ----------
    disposal: of a GIF's frame: see Disposal. Other values leave the frame where it is.
    has_transparency: whether one of a GIF's colours is transparent in the frame.
    control: offset in the file of the byte that contains both; 0 if it is missing.
    is_interlaced: whether the rows of a GIF's frame are stored in four passes.
    """

    left: int
    top: int
    width: int
    height: int
    disposal: int = 0
    has_transparency: bool = False
    control: int = 0
    is_interlaced: bool = False

    @property
    def pixels(self) -> int:
        return self.width * self.height


def of_gif(file: File) -> Iterator[Frame]:
    """Yield the frames of a GIF in order, as far as the file can be read."""
    with suppress(struct.error):
        file.seek(10)
        skip_table(file, *struct.unpack("<B2x", file.read(3)))
        disposal, has_transparency, control = 0, False, 0
        while (block := file.read(1)) in {_FRAME, _EXTENSION}:
            if block == _FRAME:
                left, top, width, height, flags = struct.unpack("<HHHHB", file.read(9))
                is_interlaced = bool(flags & _INTERLACED)
                yield Frame(left, top, width, height, disposal, has_transparency, control, is_interlaced)
                disposal, has_transparency, control = 0, False, 0
                skip_table(file, flags)
            label = file.read(1)  # or the code size of a frame
            if block == _EXTENSION and label == _CONTROL:
                at = file.tell()
                (packed,) = struct.unpack("<xB", file.read(2))
                disposal, control = packed >> 2 & 7, at + 1
                has_transparency = has_transparency or bool(packed & HAS_TRANSPARENCY)
                file.seek(at)
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
