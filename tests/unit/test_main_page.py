"""Which page of a TIFF is the picture, without a page asked for: by its marks, its names and its size."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.header import Header, require_page
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import BLOCK, Blocks
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from tests.support.images import paged_tiffs, pictures
from tiler.decode import reader_of
from tiler.decode.readers.tiff.overviews import overviews


def look(data: bytes, page: int | None = None, most: int = 1 << 30) -> Found | Failed | Unknown:
    """What ingest sees of a file of which it gets the first bytes only."""
    return probe_child.find_header(
        pyvips, Blocks(lambda at, size: data[at : at + size] if at + size <= most else None, len(data)), page
    )


def test_the_main_picture_is_the_largest_full_page_that_is_no_label(tmp_path: Path) -> None:
    files = list(paged_tiffs.files(tmp_path))
    assert len(files) > 10
    for one in files:
        reader = reader_of(one.path, None)
        assert (reader.page, one.path.name) == (one.page, one.path.name)
        assert np.array_equal(reader.open().numpy(), one.pixels), one.path.name
        # And it is known before the download
        seen = look(one.path.read_bytes())
        assert isinstance(seen, Found), one.path.name
        assert (seen.page, seen.width, seen.height) == (one.page, *one.pixels.shape[1::-1]), one.path.name
        assert seen.pages == reader.header().pages > one.page, one.path.name
        with pytest.raises(StageError, match=f"has {seen.pages} pages"):
            reader_of(one.path, seen.pages).open()
        # And page 0 is page 0 where it is asked for
        assert reader_of(one.path, 0).page == 0
        with tifffile.TiffFile(one.path) as file:
            assert look(one.path.read_bytes(), 0)[1:3] == file.pages.first.shape[1::-1], one.path.name


def test_a_label_is_shown_to_those_who_ask_for_it_only(tmp_path: Path) -> None:
    path = paged_tiffs.labels_only(tmp_path)
    with pytest.raises(StageError, match="nothing but a label or macro view") as caught:
        reader_of(path, None).header()
    assert caught.value.code == "page_not_found"
    assert look(path.read_bytes()) == Failed("page_not_found", caught.value.message)
    for page, size in enumerate((paged_tiffs.LABEL, paged_tiffs.MACRO)):
        assert reader_of(path, page).header()[1:3] == size


def test_a_label_is_no_overview_of_the_picture_beside_it(tmp_path: Path) -> None:
    # Given a label and a macro view that are marked as smaller versions and have the picture's proportions
    path = tmp_path / "source.tif"
    main = pictures.scene(400, 200)
    with tifffile.TiffWriter(path) as file:
        file.write(main, photometric="rgb", subifds=1, metadata=None)
        file.write(main[::2, ::2], photometric="rgb", subfiletype=1, description="label", metadata=None)
        file.write(main[::4, ::4], photometric="rgb", subfiletype=1, description="Label", metadata=None)
        file.write(main[::4, ::4], photometric="rgb", subfiletype=9, description="Aperio\nmacro 100x50", metadata=None)
        file.write(main[::5, ::5], photometric="rgb", subfiletype=1, metadata=None)
    assert [found[:2] for found in overviews(path, 0)] == [(80, 40)]


def test_a_file_that_breaks_off_behind_a_label_shows_no_label(tmp_path: Path) -> None:
    # Given a label, and a directory behind it that lies beyond the end of the file
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, pictures.scene(90, 60), photometric="rgb", description="label", metadata=None)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, len(data) + 10)
    path.write_bytes(data)
    with pytest.raises(StageError) as caught:
        reader_of(path, None).header()
    assert caught.value.code == "image_corrupt"
    assert look(bytes(data)) == Failed("image_corrupt", caught.value.message)


def test_pages_that_cannot_all_be_fetched_are_not_judged() -> None:
    # Given a page that is not supported, and behind it a larger one that is, beyond what is fetched
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pictures.noise(600, 400), photometric="rgb", compression="jpeg2000", metadata=None)
        writer.write(pictures.noise(700, 500), photometric="rgb", metadata=None)
    data = file.getvalue()
    # Then what is seen of it is reported, and it is not refused
    seen = look(data, most=BLOCK)
    assert isinstance(seen, Found)
    assert (seen.width, seen.height, seen.pages) == (600, 400, 0)
    # While all of it shows the page that is meant
    assert isinstance(whole := look(data), Found)
    assert (whole.page, whole.width) == (1, 700)


@pytest.mark.parametrize("name", ["tiff", "gif", "webp", "heif"])
def test_a_page_that_the_decoder_does_not_count_to_is_refused(name: str) -> None:
    # Given more pages than libvips counts to: it would open the first one instead
    header = Header(name, 1, 1, 200_000)
    require_page(header, 100_000)
    with pytest.raises(StageError, match="cannot be read") as caught:
        require_page(header, 100_001)
    assert caught.value.code == "page_not_found"


def test_hundreds_of_pages_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(300):
            pixels = np.zeros((8, 9 if number == 217 else 8, 3), np.uint8)
            file.write(pixels, photometric="rgb", description="x" * 200, metadata=None)
    with path.open("rb") as opened:
        assert tiff.main_page(opened) == tiff.Main(217, 9, 8, others=299)
