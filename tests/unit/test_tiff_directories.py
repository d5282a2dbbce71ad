"""Directories that break off, or are more than anyone reads: what libtiff opens all the same is judged all the same."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import pyvips
import tifffile

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from tests.support.images import damaged_tiffs, pictures
from tiler.decode import reader_of
from tiler.decode.readers.tiff.overviews import MOST, overviews


def look(path: Path, page: int = 0) -> Found | Failed | Unknown:
    """What ingest sees of a file before it fetches it."""
    data = path.read_bytes()
    return probe_child.find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), page)


def refused(path: Path, page: int = 0) -> tuple[str, str]:
    """How a tiler refuses it; not before libvips would have opened it."""
    with pytest.raises(StageError) as caught:
        reader_of(path, page).open()
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_directory_that_ends_the_file_before_its_end_is_judged(cut: int, tmp_path: Path) -> None:
    # Given JPEG 2000, which libvips paints black, and a file that ends where the next directory would be named
    path = damaged_tiffs.unread_at_the_end(tmp_path / "source.tif", 34712, cut)
    assert pyvips.Image.new_from_file(str(path)).width > 1
    # Then both say so
    code, message = refused(path)
    assert (code, "JPEG 2000" in message) == ("unsupported_format", True)
    assert look(path) == Failed(code, message)


def test_a_directory_that_only_libtiff_can_make_sense_of_is_damaged(tmp_path: Path) -> None:
    # Given tiles that are said to be more than the file could name
    path = damaged_tiffs.overcounted(tmp_path / "source.tif")
    assert pyvips.Image.new_from_file(str(path)).width == 64
    code, message = refused(path)
    assert (code, "its directory cannot be read" in message) == ("image_corrupt", True)


@pytest.mark.parametrize("big", [False, True])
def test_a_page_behind_a_directory_that_nobody_reads_is_judged(big: bool, tmp_path: Path) -> None:
    # Given three pages, of which the second has more entries than libtiff reads, and the third is not read here
    path = tmp_path / "source.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        for compression in (None, None, "jpeg2000"):
            file.write(pictures.scene(60, 40), photometric="rgb", compression=compression, metadata=None)
    with tifffile.TiffFile(path) as read:
        offsets = [page.offset for page in read.pages]
    data = path.read_bytes()
    many = 5000
    word, entry = ("Q", 20) if big else ("I", 12)
    stuffed = struct.pack("<Q" if big else "<H", many) + bytes(entry * many) + struct.pack(f"<{word}", offsets[2])
    place = len(data) + len(data) % 2
    data = data.ljust(place, b"\0").replace(struct.pack(f"<{word}", offsets[1]), struct.pack(f"<{word}", place), 1)
    path.write_bytes(data + stuffed)
    code, message = refused(path, 2)
    assert (code, "JPEG 2000" in message) == ("unsupported_format", True)
    assert look(path, 2) == Failed(code, message)


def test_a_page_behind_ten_thousand_others_is_judged(tmp_path: Path) -> None:
    # Given 12,000 pages of one pixel, of which the last is compressed by JPEG 2000
    path, count = tmp_path / "source.tif", 12_000
    path.write_bytes(many_pages(count, 34712))
    assert pyvips.Image.new_from_file(str(path), page=count - 1).width == 1
    assert reader_of(path, count - 2).open().width == 1
    code, message = refused(path, count - 1)
    assert (code, "JPEG 2000" in message) == ("unsupported_format", True)


def many_pages(count: int, last: int) -> bytes:
    """A TIFF of so many pages of one pixel; `last` is the compression of the last."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    length = 2 + 12 * len(tags) + 4

    def directory(number: int) -> bytes:
        of_it = dict(tags) | ({259: last} if number == count - 1 else {})
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in of_it.items())
        following = 10 + length * (number + 1) if number < count - 1 else 0
        return struct.pack("<H", len(of_it)) + entries + struct.pack("<I", following)

    return struct.pack("<2sHI2x", b"II", 42, 10) + b"".join(map(directory, range(count)))


def test_directories_that_form_a_ring_end(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    data = many_pages(3, 1)
    path.write_bytes(data[:-4] + struct.pack("<I", 10))
    with path.open("rb") as file:
        assert len(list(tiff.directories(file))) == 3
        assert tiff.find(file, 3) is None


def test_of_thousands_of_directories_below_a_page_few_are_looked_at(tmp_path: Path) -> None:
    # Given a page with 30,000 smaller pictures below it, all one directory
    path, count = tmp_path / "source.tif", 30_000
    data = many_pages(1, 1)
    entries = data[12:-4] + struct.pack("<HHII", 330, 4, count, len(data) + 12)
    below = struct.pack(f"<{count}I", *[10] * count)
    path.write_bytes(data[:10] + struct.pack("<H", len(entries) // 12) + entries + bytes(4) + below)
    found = list(overviews(path, 0))
    assert len(found) == MOST
