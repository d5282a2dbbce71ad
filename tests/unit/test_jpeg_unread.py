"""Data that is left behind the last row of a JPEG with a single scan."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.errors import StageError
from pipeline.pyramids import Format
from tests.support.images import pictures
from tiler.decode import open_picture
from tiler.decode.reader import Reader
from tiler.decode.readers.jpeg import reader as jpeg_reader
from tiler.decode.readers.jpeg.unread import end_of_only_scan
from tiler.decode.registry import reader_of
from tiler.progress import Meter

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fine colours": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "grey": {},
    "cmyk": {},
}
MODES = {"grey": "L", "cmyk": "CMYK"}
STRAY = b"stray bytes"
ERRORS = (pyvips.Error, StageError)


def made(kind: str, width: int = 320, height: int = 250, **options: Any) -> bytes:
    image = Image.fromarray(pictures.scene(width, height)).convert(MODES.get(kind, "RGB"))
    image.save(file := BytesIO(), "JPEG", **(KINDS[kind] | options))
    return file.getvalue()


def decoded(path: Path) -> tuple[Reader, bytes]:
    reader = reader_of(path)
    reader.prepare()
    image = reader.open()
    with reader.heeded():
        return reader, bytes(image.write_to_memory())


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_behind_the_last_block_are_harmless_and_bytes_among_the_blocks_are_damage(
    kind: str, tmp_path: Path
) -> None:
    data = made(kind)
    sound, pixels = decoded(written(tmp_path / "sound.jpg", data))
    assert sound.remarks() == []
    # Given stray bytes, and as many as fill a sector
    for stray in (STRAY, bytes(3000), b"\x20" * 9):
        reader, found = decoded(written(tmp_path / "stray.jpg", data[:-2] + stray + data[-2:]))
        assert found == pixels
        assert [warned.code for warned in reader.remarks()] == ["bytes_ignored"]
        assert f"{len(stray):,} bytes" in reader.remarks()[0].message
    # And the same among the blocks
    begin = data.rindex(b"\xff\xda") + 14
    chance = random.Random(3)  # noqa: S311  a test's, not a secret's
    for _ in range(12):
        at = chance.randrange(begin, len(data) - 200)
        odd = written(tmp_path / "odd.jpg", data[:at] + bytes(300) + data[at:])
        with pytest.raises(ERRORS):
            decoded(odd)
        # Then nothing is salvaged but the rows before the damage
        reader = reader_of(odd)
        with pytest.raises(ERRORS), reader.heeded():
            reader.open().write_to_memory()
        assert reader.salvage("A reason.") is False or kind == "restarts"


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_marker_does_not_matter(kind: str, tmp_path: Path) -> None:
    data = made(kind)
    for behind in (b"trailer", data, bytes(9000), b"\xff\xd9", data[:-2] + STRAY + data[-2:]):
        reader, _ = decoded(written(tmp_path / "more.jpg", data + behind))
        assert reader.remarks() == []
    # And stray bytes are found before it
    path = tmp_path / "stray.jpg"
    Image.open(BytesIO(data)).save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (90, 90))])
    reader, _ = decoded(path)
    assert reader.remarks() == []
    both = path.read_bytes()
    first = both.index(b"\xff\xd9", both.index(b"\xff\xda"))
    reader, _ = decoded(written(path, both[:first] + STRAY + both[first:]))
    assert [warned.code for warned in reader.remarks()] == ["bytes_ignored"]


def test_rest_of_a_large_jpeg_is_judged_when_its_last_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a JPEG too large to be decoded once more, which is read in parts
    data = made("fine colours", 900, 700)
    monkeypatch.setattr(jpeg_reader, "MOST_BYTES", 1000)

    def read(path: Path) -> Reader:
        reader = reader_of(path)
        reader.prepare()
        region = pyvips.Region.new(reader.open())
        for top in range(0, 700, 100):
            with reader.heeded(to_end=top == 600):
                region.fetch(0, top, 900, 100)
        return reader

    # Then the parts that are not read yet are no rest
    assert read(written(tmp_path / "sound.jpg", data)).remarks() == []
    # And a rest is found at the end
    with pytest.raises(StageError, match="left behind the last row"):
        read(written(tmp_path / "stray.jpg", data[:-2] + STRAY * 9 + data[-2:]))


def test_only_a_sequential_jpeg_of_one_scan_is_read_to_its_end() -> None:
    plain = made("plain")
    assert end_of_only_scan(BytesIO(plain)) == len(plain) - 2
    assert end_of_only_scan(BytesIO(plain + b"trailer")) == len(plain) - 2
    assert end_of_only_scan(BytesIO(plain[:-2])) is None
    assert end_of_only_scan(BytesIO(made("plain", progressive=True))) is None
    assert all(end_of_only_scan(BytesIO(plain[:cut])) is None for cut in range(2, 700, 7))


def test_of_a_large_jpeg_only_a_rest_of_a_single_value_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made("plain")
    monkeypatch.setattr(jpeg_reader, "MOST_BYTES", len(data) // 2)
    reader, pixels = decoded(written(tmp_path / "padded.jpg", data[:-2] + bytes(500) + data[-2:]))
    assert pixels == decoded(written(tmp_path / "sound.jpg", data))[1]
    assert [warned.code for warned in reader.remarks()] == ["bytes_ignored"]
    with pytest.raises(StageError, match="left behind the last row"):
        decoded(written(tmp_path / "stray.jpg", data[:-2] + STRAY * 9 + data[-2:]))


@pytest.mark.parametrize("height", [240, 242, 250])
@pytest.mark.parametrize("kind", ["plain", "fine colours"])
def test_data_that_runs_out_in_the_last_row_is_damage(kind: str, height: int, tmp_path: Path) -> None:
    # Given a JPEG whose decoder falls into step again behind a loss, so that only the last blocks lack their data
    data = made(kind, height=height)
    path = written(tmp_path / "lost.jpg", data[: len(data) // 2] + data[len(data) // 2 + 60 :])
    # Then it fails, although libvips reads no row after libjpeg's warning
    with pytest.raises(ERRORS):
        decoded(path)
    reader = reader_of(path)
    reader.prepare()
    assert reader.salvage("A reason.") is False


@pytest.mark.parametrize("tile_format", Format)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_last_row_is_found_although_the_error_buffer_is_closed_while_tiles_are_saved(
    kind: str, tile_format: Format, tmp_path: Path
) -> None:
    # Given a JPEG that lacks the data of its last blocks only, which libjpeg reports once
    data = made(kind, 500, 500)
    path = written(tmp_path / "lost.jpg", data[:-60] + data[-2:])
    sound = written(tmp_path / "sound.jpg", data)

    def tiled(path: Path) -> bytes:
        reader = reader_of(path)
        reader.prepare()
        picture = open_picture(reader, meter=Meter(lambda *_: None), tile_format=tile_format)
        with picture.heeded():
            found = bytes(picture.image.write_to_memory())
            if tile_format is not Format.JPEG:
                # As if all of it had come while dzsave saved a tile by suffix
                pyvips.vips_lib.vips_error_clear()
        return found

    # Then it fails
    with pytest.raises(ERRORS, match=r"could not be decoded|premature|Corrupt"):
        tiled(path)
    # And a sound one does not
    assert tiled(sound)


def test_a_smaller_version_and_a_header_are_no_reason_to_read_the_data_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> list[int]:
        raise AssertionError("the data was decoded by the slow decoder")

    monkeypatch.setattr(jpeg_reader, "stray_bytes", fail)
    reader = reader_of(written(tmp_path / "sound.jpg", made("plain", 900, 700)))
    reader.prepare()
    small = reader.smaller(100)
    assert small is not None
    with reader.heeded():
        small.write_to_memory()
    image = reader.open()
    with reader.heeded():
        found = np.asarray(image.write_to_memory())
    assert found.size > 0
