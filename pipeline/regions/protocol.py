"""Messages between a child that joins tiles and its parent. A frame is a length in 4 bytes, big-endian, and the bytes.

parent ─ a line: the memory that the child may use ───────────────▶ child    once
       ─ a frame: a Job; a frame for each of its tiles, by rows ──▶          any number of times
       ◀─ a frame: Made, and a frame: the result; or a frame: Failed
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pipeline.sandbox.lines import Codec

LENGTH = struct.Struct(">I")

QUALITIES = ("default", "color", "gray", "bitonal")
"""Names of the Image API. `default` and `color` are the pixels as they are stored."""


class Start(NamedTuple):
    """The first line. memory: bytes of address space."""

    memory: int


class Job(NamedTuple):
    """One result to make.

    Parameters
    ----------
    tiles: format of the tiles: jpg, png or webp.
    widths, heights: of the columns and the rows of tiles, in pixels.
    left, top, right, bottom: the region, counted from the first tile's corner.
    width, height: of the result, before it is turned.
    mirrored: whether it is mirrored left to right, before it is turned.
    turns: quarters of a turn clockwise, 0 to 3.
    quality: one of QUALITIES.
    extension: format of the result: jpg, png or webp.
    """

    tiles: str
    widths: tuple[int, ...]
    heights: tuple[int, ...]
    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int
    mirrored: bool
    turns: int
    quality: str
    extension: str


class Made(NamedTuple):
    """The result follows."""


class Failed(NamedTuple):
    """A tile cannot be decoded or has another size than it should have. message: for the log."""

    message: str


Report = Made | Failed

STARTS = Codec[Start]("start", {"start": Start})
JOBS = Codec[Job]("job", {"job": Job})
REPORTS = Codec[Report]("report", {"made": Made, "failed": Failed})
