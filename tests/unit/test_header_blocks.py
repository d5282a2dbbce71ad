"""Reading a few blocks of a file that is somewhere else, and headers that need no decoder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.formats import header_bytes
from pipeline.formats.header import Header, decoding_memory
from pipeline.formats.probe.blocks import BLOCK, LONGEST, Blocks
from tests.support.images import pictures

FILE = np.random.default_rng(1).bytes(5 * LONGEST + 123)


class Asked:
    """A file, and what has been asked of it. Gives at most `most` bytes at once."""

    def __init__(self, data: bytes, most: int = 1 << 30, refused_from: int | None = None) -> None:
        self.ranges: list[tuple[int, int]] = []
        self._data, self._most, self._refused_from = data, most, refused_from

    def __call__(self, offset: int, length: int) -> bytes | None:
        if self._refused_from is not None and offset >= self._refused_from:
            return None
        self.ranges.append((offset, length))
        return self._data[offset : offset + min(length, self._most)]


@pytest.mark.parametrize("length", [len(FILE), None])
@pytest.mark.parametrize("most", [1 << 30, 777])
def test_blocks_read_like_a_file(length: int | None, most: int) -> None:
    # Given a file and its blocks, from somebody who gives less at once than he is asked for
    blocks, file = Blocks(Asked(FILE, most), length), io.BytesIO(FILE)
    chance = np.random.default_rng(2)
    for _ in range(60):
        # When both are read here and there
        at, size = int(chance.integers(len(FILE) + 10)), int(chance.choice([1, 100, 4096, 3 * BLOCK]))
        assert blocks.seek(at) == file.seek(at) == blocks.tell()
        # Then they say the same
        assert blocks.read(size) == file.read(size)


def test_a_block_is_asked_for_once() -> None:
    asked = Asked(FILE)
    blocks = Blocks(asked, len(FILE))
    for at in (10, 70_000, 20, 65_530, 70_010):
        blocks.seek(at)
        blocks.read(20)
    assert asked.ranges == [(0, BLOCK), (BLOCK, 2 * BLOCK)]


def test_what_is_read_on_and_on_is_asked_for_in_ever_longer_pieces() -> None:
    # Given a file of five million bytes, when it is read to its end
    asked = Asked(FILE)
    blocks = Blocks(asked, len(FILE))
    while blocks.read(4096):
        pass
    # Then that takes few requests, of which none is very long, and none goes beyond the end
    lengths = [length for _, length in asked.ranges]
    assert lengths[:3] == [BLOCK, 2 * BLOCK, 4 * BLOCK]
    assert max(lengths) == LONGEST
    assert len(lengths) < 12
    assert sum(lengths) == len(FILE)


def test_the_end_of_a_file_is_where_its_length_says_or_where_nothing_comes() -> None:
    known, unknown = Blocks(Asked(FILE), len(FILE)), Blocks(Asked(FILE), None)
    assert known.seek(-5, os.SEEK_END) == len(FILE) - 5
    assert unknown.seek(-5, os.SEEK_END) == -1
    for blocks in (known, unknown):
        blocks.seek(len(FILE) - 5)
        assert not blocks.overrun
        assert blocks.read(10) == FILE[-5:]
        assert blocks.overrun


def test_a_position_before_the_beginning_is_refused() -> None:
    blocks = Blocks(Asked(FILE), len(FILE))
    blocks.seek(100)
    assert blocks.seek(-101, os.SEEK_CUR) == -1
    assert blocks.tell() == 100


def test_what_is_refused_once_is_not_asked_for_again() -> None:
    # Given somebody who gives only the first block
    asked = Asked(FILE, refused_from=BLOCK)
    blocks = Blocks(asked, len(FILE))
    blocks.seek(BLOCK - 10)
    # When more is read
    assert blocks.read(20) == FILE[BLOCK - 10 : BLOCK]
    # Then the file ends there, and says why
    assert blocks.exhausted
    assert not blocks.overrun
    # And what is there can still be read
    blocks.seek(0)
    assert blocks.read(5) == FILE[:5]
    assert asked.ranges == [(0, BLOCK)]


@pytest.mark.parametrize(
    ("name", "bands", "options"),
    [
        ("lossy.webp", 3, {}),
        ("lossless.webp", 3, {"lossless": True}),
        ("alpha.webp", 4, {}),
        ("a.gif", 3, {}),
        ("strips.tif", 3, {}),
        ("big.tif", 3, {"bigtiff": True, "tile": True}),
    ],
)
@pytest.mark.parametrize("size", [(301, 200), (1, 1), (1000, 3)])
def test_headers_are_read_without_a_decoder(
    name: str, bands: int, options: dict[str, object], size: tuple[int, int], tmp_path: Path
) -> None:
    # Given a picture
    path = pictures.save(pictures.scene(*size, bands=bands), tmp_path / name, "srgb", **options)
    # When its first bytes are read
    kind = {"webp": "webp", "gif": "gif", "tif": "tiff"}[name.split(".")[1]]
    with path.open("rb") as file:
        header = header_bytes.read(kind, file)
    # Then they say what libvips says
    image = pyvips.Image.new_from_file(str(path))
    assert header is not None
    assert header[:3] == (kind, image.width, image.height)
    # And one page, but where only the whole file would tell
    assert header.pages == (1 if kind == "webp" else 0)


def test_the_pages_of_an_animation_are_not_known_by_its_first_bytes(tmp_path: Path) -> None:
    image = pyvips.Image.new_from_array(np.concatenate([pictures.scene(40, 30, seed=n) for n in range(3)]))
    image.set_type(pyvips.GValue.gint_type, "page-height", 30)
    image.write_to_file(str(tmp_path / "moving.webp"))
    with (tmp_path / "moving.webp").open("rb") as file:
        assert header_bytes.read("webp", file) == Header("webp", 40, 30, 0)


def test_a_page_of_a_tiff_has_a_size_of_its_own(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (30, 20)), Image.new("RGB", (50, 40))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    with (tmp_path / "two.tif").open("rb") as file:
        assert header_bytes.read("tiff", file, 1) == Header("tiff", 50, 40, 0)
        assert header_bytes.read("tiff", file, 2) is None


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("webp", b""),
        ("webp", b"RIFF\xff\xff\xff\xffWEBPVP8?" + bytes(30)),
        ("webp", b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(30)),
        ("gif", b"GIF89a\1"),
        ("gif", b"GIF89a" + bytes(30)),
        ("tiff", b"II*\0\xff\xff\xff\xff"),
        ("tiff", b"II*\0" + bytes(100)),
        ("jpeg", b"\xff\xd8\xff" + bytes(100)),
    ],
)
def test_what_is_no_header_says_nothing(kind: str, data: bytes) -> None:
    assert header_bytes.read(kind, io.BytesIO(data)) is None


def test_memory_is_that_of_a_row_of_tiles_or_of_the_whole_picture() -> None:
    big = Header("jpeg", 16384, 16384, 1)
    # Where a picture streams, its height costs nothing
    assert decoding_memory(big) == decoding_memory(big._replace(height=1 << 20)) < 150 << 20
    # Where it does not, each pixel costs what was measured
    pixels = 16384**2
    assert decoding_memory(big, interlaced=True) - decoding_memory(big) == 6 * pixels
    assert decoding_memory(big._replace(format="webp")) - decoding_memory(big) == 8 * pixels
    assert decoding_memory(big._replace(format="png"), samples=4, sample_bytes=2, interlaced=True) > 8 * pixels
