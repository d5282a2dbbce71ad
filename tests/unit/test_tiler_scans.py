"""How many scans of a JPEG are too many, and what is not taken for one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import pyvips

from pipeline.errors import StageError
from tests.support.images import hostile, pictures
from tiler.decode import reader_of
from tiler.decode.readers.jpeg import scans
from tiler.decode.readers.jpeg.scans import MOST_SCANS, require_sound_scans

SCAN = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
HEAD = b"\xff\xd8\xff\xe0\0\x04\0\0"


def too_many(data: bytes) -> bool:
    try:
        require_sound_scans(io.BytesIO(data))
    except StageError as error:
        return error.code == "decoder_too_slow"
    return False


def test_a_picture_in_more_passes_than_any_program_makes_is_refused(tmp_path: Path) -> None:
    # Given a JPEG without a fault, that a decoder takes many passes for
    path = tmp_path / "passes.jpg"
    path.write_bytes(hostile.passes(64, 64))
    assert pyvips.Image.new_from_file(str(path), fail_on="warning").avg() == 128
    # When it is to be tiled, then the number of its passes speaks against it
    with pytest.raises(StageError, match="more than 100 scans") as caught:
        reader_of(path).require_sound_layout()
    assert caught.value.code == "decoder_too_slow"


@pytest.mark.parametrize("options", [{}, {"interlace": True}, {"interlace": True, "restart_interval": 1}])
def test_what_programs_write_is_taken(options: dict[str, Any], tmp_path: Path) -> None:
    path = pictures.save(pictures.scene(300, 200), tmp_path / "a.jpg", **options)
    reader_of(path).require_sound_layout()
    assert not too_many(path.read_bytes())


@pytest.mark.parametrize("piece", [2, 3, 7, 1 << 16])
def test_scans_are_counted_wherever_a_piece_of_the_file_ends(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "_FIRST_PIECE", piece)
    monkeypatch.setattr(scans, "_PIECE", piece)
    coded = b"\x12\xff\0\xff\xd0\x34\xff\xd7\x56"
    assert not too_many(HEAD + (SCAN + coded) * MOST_SCANS + b"\xff\xd9")
    assert too_many(HEAD + (SCAN + coded) * (MOST_SCANS + 1) + b"\xff\xd9")
    # Fill bytes before a marker belong to it
    assert too_many(HEAD + (b"\xff\xff" + SCAN + coded) * (MOST_SCANS + 1))


@pytest.mark.parametrize("alone", [b"\xff\x01", b"\xff\xff\x01", b"\xff\xd0", b"\xff\xd7\xff\x01"])
def test_a_marker_that_stands_alone_hides_no_scan_behind_it(alone: bytes) -> None:
    # The scan's own marker would be taken for its length
    assert too_many(HEAD + (alone + SCAN + b"\x12") * (MOST_SCANS + 1))
    assert not too_many(HEAD + (alone + SCAN + b"\x12") * MOST_SCANS)


def test_a_decoder_takes_what_hides_behind_such_a_marker_for_scans(tmp_path: Path) -> None:
    # Given a JPEG of 883 scans, each behind a marker without a length, that libjpeg reads without a remark
    path = tmp_path / "hidden.jpg"
    path.write_bytes(hostile.hidden_passes(64, 64))
    assert pyvips.Image.new_from_file(str(path), fail_on="warning").avg() == 128
    # When it is to be tiled, then the number of its passes speaks against it
    with pytest.raises(StageError, match="more than 100 scans") as caught:
        reader_of(path).require_sound_layout()
    assert caught.value.code == "decoder_too_slow"


@pytest.mark.parametrize("scans", [(1,), (1, 2), (2, 3), (3,)])
def test_a_jpeg_of_which_a_component_has_no_scan_is_damaged(scans: tuple[int, ...], tmp_path: Path) -> None:
    # Given a JPEG that ends in order, which libjpeg reads without a remark
    path = tmp_path / "a.jpg"
    path.write_bytes(hostile.without_components(64, 64, scans))
    pyvips.Image.new_from_file(str(path), fail_on="warning").avg()
    # Then what is not there is told
    with pytest.raises(StageError, match="components have no scan") as caught:
        reader_of(path).require_sound_layout()
    assert caught.value.code == "image_corrupt"


def test_a_jpeg_of_which_each_component_has_its_scan_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(hostile.without_components(64, 64, (1, 2, 3)))
    reader_of(path).require_sound_layout()


def test_what_only_looks_like_a_scan_is_none() -> None:
    # Given a thousand of them in a comment, and behind the picture's end
    inside = b"\xff\xfe" + (2 + 1000 * len(SCAN)).to_bytes(2, "big") + SCAN * 1000
    assert not too_many(HEAD + inside + SCAN + b"\x12\xff\xd9" + SCAN * 1000)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", HEAD[:6], HEAD + b"\xff", HEAD + b"\xff\xda\0", HEAD + b"\xff\xe1\0\0"]
)
def test_a_file_that_ends_anywhere_comes_to_an_end(data: bytes) -> None:
    assert not too_many(data)
