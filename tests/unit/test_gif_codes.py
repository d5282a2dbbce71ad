"""GIFs whose frames have not all their pixels, or cannot be followed: never taken for whole ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import pyvips

from pipeline.errors import StageError
from tests.support.images import animations
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

EDGE = 60
TABLE = bytes(number for level in range(256) for number in (level, 255 - level, 128))
PIXELS = bytes((x + y) % 200 + 50 for y in range(EDGE) for x in range(EDGE))

WITH_TABLE, WITHOUT = 0xF7, 0


def frame(pixels: bytes, edge: int = EDGE, least: int = 8) -> bytes:
    """A frame of the canvas's size."""
    return b"," + struct.pack("<HHHHB", 0, 0, edge, edge, 0) + animations.codes(pixels, least)


def code_size(least: int) -> bytes:
    """A frame of one pixel that says so of its codes."""
    return b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + bytes([least]) + b"\x01\x04\0"


def gif(*frames: bytes, flags: int = WITH_TABLE) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", EDGE, EDGE, flags, 0, 0)
    return head + (TABLE if flags == WITH_TABLE else b"") + b"".join(frames) + b";"


HALF = PIXELS[: len(PIXELS) // 2]


def outcome(path: Path, data: bytes, page: int = 0) -> str:
    """The code of the refusal, or what fails; "" where it is decoded."""
    path.write_bytes(data)
    try:
        picture = open_picture(reader_of(path, page), meter=Meter(lambda *_: None))
        with picture.heeded():
            picture.image.avg()
    except StageError as error:
        return error.code
    except pyvips.Error:
        return "a decoder's error"
    return ""


def test_a_whole_gif_is_read(tmp_path: Path) -> None:
    assert outcome(tmp_path / "a.gif", gif(frame(PIXELS), frame(PIXELS)), 1) == ""


@pytest.mark.parametrize("before", [b"", frame(PIXELS)])
def test_a_frame_of_half_its_pixels_is_damaged(before: bytes, tmp_path: Path) -> None:
    page = int(before == frame(PIXELS))
    assert outcome(tmp_path / "a.gif", gif(before, frame(HALF)), page) == "image_corrupt"


@pytest.mark.parametrize("least", [0, 12, 255])
def test_codes_of_no_such_length_are_damaged_and_hide_nothing(least: int, tmp_path: Path) -> None:
    # Longer ones libnsgif refuses by itself
    codes = {"image_corrupt"} if least == 0 else {"image_corrupt", "a decoder's error"}
    assert outcome(tmp_path / "a.gif", gif(code_size(least), frame(HALF)), 1) in codes
    assert outcome(tmp_path / "a.gif", gif(code_size(least)), 0) in codes


def test_a_frame_without_colours_is_refused(tmp_path: Path) -> None:
    assert outcome(tmp_path / "a.gif", gif(frame(PIXELS), flags=WITHOUT)) == "unsupported_format"


@pytest.mark.parametrize("between", [b"\0", b"\x99", b";"])
def test_frames_that_cannot_be_followed_are_not_taken_for_looked_at(between: bytes, tmp_path: Path) -> None:
    # Whatever libvips makes of what lies between two frames: half a frame is not read
    assert outcome(tmp_path / "a.gif", gif(frame(PIXELS), between, frame(HALF)), 1) != ""
