"""The tiles of a IIIF image are joined by a confined child, whatever a stranger puts into their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats.admission import Limits
from pipeline.formats.tile_sets import TileSet, entry
from tests.support.images.pictures import Pixels, scene
from tiler.unpack import Source, unpacked

WIDTH, HEIGHT, EDGE = 300, 200, 128
SET = TileSet(WIDTH, HEIGHT, EDGE, EDGE)
PICTURE = scene(WIDTH, HEIGHT)


def cut(number: int, picture: Pixels = PICTURE) -> pyvips.Image:
    x, y, width, height = SET.place(number)
    tile = np.ascontiguousarray(picture[y : y + height, x : x + width])
    return pyvips.Image.new_from_array(tile).copy(interpretation="srgb")


def tiles(suffix: str = ".png", **options: object) -> list[bytes]:
    return [cut(number).write_to_buffer(suffix, **options) for number in range(SET.total)]


def joined(
    folder: Path, data: list[bytes], head: bytes = SET.head(), *, pixels: int = 10**9, room: int | None = None
) -> Source:
    file = folder / "stored"
    file.write_bytes(head + b"".join(map(entry, data)))
    return unpacked(file, folder, member="", most=10**9, limits=Limits(pixels, 5000), min_libvips="8.14.0", room=room)


def shown(source: Source) -> Pixels:
    head = b"P6\n300 200\n255\n"
    data = source.path.read_bytes()
    assert data.startswith(head)
    return np.frombuffer(data[len(head) :], np.uint8).reshape(HEIGHT, WIDTH, 3)


def test_tiles_are_joined_to_the_picture(tmp_path: Path) -> None:
    source = joined(tmp_path, tiles())
    assert (source.archive, source.member) == ("tiles", "")
    assert source.archive_bytes == (tmp_path / "stored").stat().st_size
    assert np.array_equal(shown(source), PICTURE)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_compressed_tiles_are_joined_as_they_are_decoded(tmp_path: Path, suffix: str) -> None:
    data = tiles(suffix, Q=90)
    found = shown(joined(tmp_path, data))
    for number, one in enumerate(data):
        x, y, width, height = SET.place(number)
        assert np.array_equal(found[y : y + height, x : x + width], pyvips.Image.new_from_buffer(one, "").numpy())


def test_tiles_of_other_colours_become_srgb(tmp_path: Path) -> None:
    # Given tiles in grey, with transparency, with 16 bits, in CMYK, and with a profile
    data = tiles()
    data[0] = cut(0).colourspace("b-w").write_to_buffer(".png")
    data[1] = cut(1).bandjoin(255).write_to_buffer(".png")
    data[2] = cut(2).colourspace("rgb16").write_to_buffer(".png")
    data[3] = cut(3).icc_transform("cmyk", input_profile="srgb").write_to_buffer(".jpg", Q=95)
    data[4] = cut(4).icc_transform("p3", input_profile="srgb").write_to_buffer(".png")
    found = shown(joined(tmp_path, data)).astype(int)
    grey = cut(0).colourspace("b-w").numpy()
    assert all(np.array_equal(found[:EDGE, :EDGE, band], grey.reshape(EDGE, EDGE)) for band in range(3))
    for number, most in ((1, 0), (2, 1), (3, 40), (4, 3), (5, 0)):
        x, y, width, height = SET.place(number)
        there = found[y : y + height, x : x + width] - PICTURE[y : y + height, x : x + width]
        assert np.abs(there).mean() <= most, number


def corrupt(one: bytes) -> bytes:
    return one[: len(one) // 2]


HOSTILE = {
    "a damaged JPEG": (1, corrupt(cut(1).write_to_buffer(".jpg")), "cannot be decoded"),
    "a damaged PNG": (1, corrupt(cut(1).write_to_buffer(".png")), "cannot be decoded"),
    "a tile of another size": (2, cut(1).write_to_buffer(".png"), "has 128 x 128 pixels instead of 44 x 128"),
    "an SVG": (0, b"<svg xmlns='http://www.w3.org/2000/svg' width='128' height='128'/>", "is no JPEG, PNG or WebP"),
    "a TIFF": (0, cut(0).write_to_buffer(".tif"), "is no JPEG, PNG or WebP"),
    "nothing": (0, b"", "is no JPEG, PNG or WebP"),
}


@pytest.mark.parametrize(("number", "data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_tile_that_is_not_one_fails_with_its_place(tmp_path: Path, number: int, data: bytes, message: str) -> None:
    stored = tiles()
    stored[number] = data
    with pytest.raises(StageError) as raised:
        joined(tmp_path, stored)
    x, y, _, _ = SET.place(number)
    assert raised.value.code == "image_corrupt"
    assert f"The tile at {x}, {y} of the IIIF image" in raised.value.message
    assert message in raised.value.message


HEADS = {
    "too few tiles": (SET.head(), tiles()[:-1], "image_truncated"),
    "a head that ends": (SET.head()[:20], [], "image_truncated"),
    "no pixels": (TileSet(0, 1, 1, 1).head(), [], "image_corrupt"),
    "no tile": (TileSet(1, 1, 0, 1).head(), [], "image_corrupt"),
    "a huge tile": (TileSet(9000, 9000, 9000, 9000).head(), [], "image_corrupt"),
    "a huge picture": (TileSet(1 << 20, 1 << 20, 256, 256).head(), [], "image_too_large"),
    "pixels without bytes": (TileSet(1 << 16, 1 << 15, 256, 256).head(), [], "image_too_large"),
    "an endless tile": (SET.head() + b"\xff" * 8, [], "image_corrupt"),
}


@pytest.mark.parametrize(("head", "data", "code"), HEADS.values(), ids=HEADS)
def test_a_hostile_head_is_refused(tmp_path: Path, head: bytes, data: list[bytes], code: str) -> None:
    with pytest.raises(StageError) as raised:
        joined(tmp_path, data, head, pixels=1 << 33)
    assert raised.value.code == code
    assert (
        not (tmp_path / "unpacked" / "source").exists()
        or code == "image_truncated"
        or "endless" in str(head)
        or data == []
    )


def test_the_disk_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(StageError) as raised:
        joined(tmp_path, tiles(), room=1000)
    assert raised.value.code == "out_of_disk"


@pytest.mark.parametrize("number", range(SET.total))
def test_a_tile_that_lacks_the_data_of_its_last_rows_is_damaged(tmp_path: Path, number: int) -> None:
    data = tiles(".jpg", Q=90)
    data[number] = data[number][:-40] + data[number][-2:]
    x, y, _, _ = SET.place(number)
    with pytest.raises(StageError, match=f"The tile at {x}, {y} of the IIIF image cannot be decoded"):
        joined(tmp_path, data)
