"""Which compressions of a TIFF are read, and that nobody takes the others for pictures."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from imagecodecs import jpeg8_decode, jpeg8_encode

from pipeline.errors import StageError
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from pipeline.formats.tiff import codecs
from tests.support.images import damaged_tiffs, pictures, raws, tiffs
from tiler.decode import reader_of

GIVEN_UP = {32766, 32771, 32809, 34676, 34677}
"""Those that libtiff has a decoder for, and that are not read all the same: tiff_codecs says why."""

each_layout = pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])


def look(path: Path) -> Found | Failed | Unknown:
    """What ingest sees of a file before it fetches it."""
    data = path.read_bytes()
    return probe_child.find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), 0)


def test_every_compression_that_is_read_is_held_by_the_corpus_of_damage() -> None:
    assert damaged_tiffs.READ.keys() == codecs.READ.keys()


def test_the_tables_have_all_that_is_known_of() -> None:
    known = {kind.value for kind in tifffile.COMPRESSION}
    assert known <= codecs.READ.keys() | codecs.LACKING.keys()
    assert not codecs.READ.keys() & codecs.LACKING.keys()


@each_layout
@pytest.mark.parametrize("compression", codecs.LACKING)
def test_what_is_not_read_is_refused_by_name_before_the_download_and_after_it(
    compression: int, tiled: bool, tmp_path: Path
) -> None:
    path = damaged_tiffs.unread(tmp_path / "source.tif", compression, tiled=tiled)
    # When ingest looks at it, then it says so by its name
    seen = look(path)
    assert isinstance(seen, Failed)
    assert seen.code == "unsupported_format"
    assert f"{codecs.LACKING[compression]} (compression {compression})" in seen.message
    # And so does a tiler
    with pytest.raises(StageError) as caught:
        reader_of(path).open()
    assert (caught.value.code, caught.value.message) == seen


@each_layout
@pytest.mark.parametrize("compression", codecs.LACKING.keys() - GIVEN_UP)
def test_the_wheels_libvips_has_no_decoder_for_it(compression: int, tiled: bool, tmp_path: Path) -> None:
    # What it gets one for some day is a reason to read it
    path = damaged_tiffs.unread(tmp_path / "source.tif", compression, tiled=tiled)
    with pytest.raises(pyvips.Error, match=r"not (implemented|configured)|built without|unsupported"):
        pyvips.Image.new_from_file(str(path), fail_on="warning").numpy()


def test_the_page_that_is_asked_for_decides(tmp_path: Path) -> None:
    # Given two pages, of which the second is compressed by JPEG 2000
    path = tmp_path / "source.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(pictures.scene(60, 40), photometric="rgb", metadata=None)
        file.write(pictures.scene(60, 40), photometric="rgb", compression="jpeg2000", metadata=None)
    assert reader_of(path).open().width == 60
    with pytest.raises(StageError, match="JPEG 2000"):
        reader_of(path, page=1).open()
    with pytest.raises(StageError, match="has 2 pages"):
        reader_of(path, page=2).open()


@pytest.mark.parametrize("name", raws.RAWS)
def test_a_raw_photograph_is_refused_by_name_before_the_download_and_after_it(name: str, tmp_path: Path) -> None:
    make, said = raws.RAWS[name]
    path = tmp_path / "source.raw"
    make(path)
    seen = look(path)
    assert isinstance(seen, Failed)
    assert (seen.code, said in seen.message) == ("unsupported_format", True)
    with pytest.raises(StageError) as caught:
        reader_of(path).open()
    assert (caught.value.code, caught.value.message) == seen


def test_a_developed_picture_with_a_cameras_tags_is_read(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    pixels = raws.developed(path)
    assert isinstance(look(path), Found)
    assert (reader_of(path).open().numpy() == pixels).all()


def test_a_tile_whose_jpeg_is_smaller_is_damaged(tmp_path: Path) -> None:
    # Given JPEG tiles of 64 x 64 pixels, and a directory that says 128 x 128
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, pictures.scene(64, 64), photometric="rgb", compression="jpeg", tile=(64, 64), metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for tag in (256, 257, 322, 323):
            at = file.pages.first.tags[tag].valueoffset
            data[at : at + 2] = (128).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(StageError, match="a JPEG of 64 x 64 pixels, not 128 x 128") as caught:
        reader_of(path).open()
    assert caught.value.code == "image_corrupt"


def test_a_directory_that_lies_about_its_pixels_is_damaged(tmp_path: Path) -> None:
    for path in damaged_tiffs.unsound(tmp_path):
        with pytest.raises(StageError) as caught:
            reader_of(path).open()
        assert caught.value.code == "image_corrupt", path.name


@pytest.mark.parametrize("between", ["nothing", "TEM", "RST0", "fill bytes"])
def test_a_jpeg_tile_of_the_right_size_is_read_whatever_stands_before_it(between: str, tmp_path: Path) -> None:
    # Given a tile whose first marker follows others that have no length
    path, pixels = tmp_path / "source.tif", pictures.scene(64, 64)
    whole = bytes(jpeg8_encode(pixels, level=95))
    tile = whole[:2] + damaged_tiffs.HIDDEN_BY[between] + whole[2:]
    more = {530: ("H", [2, 2])}
    tiffs.write(path, pixels, photometric=tiffs.YCBCR, tile=64, compression=7, encode=lambda _: tile, more=more)
    assert np.abs(np.asarray(reader_of(path).open()).astype(int) - jpeg8_decode(whole)).mean() < 3


def test_a_single_strip_may_leave_its_length_to_its_reader(tmp_path: Path) -> None:
    # Given a length of 0 for the one strip, as some old writers have it
    path, pixels = tmp_path / "source.tif", pictures.scene(64, 64)
    damaged_tiffs.entry(tiffs.write(path, pixels), 279, 0, 0)
    source = reader_of(path, lenient=True)
    assert (np.asarray(source.open()) == pixels).all()


def test_a_compression_is_told_as_libtiff_tells_it(tmp_path: Path) -> None:
    # Given JPEG 2000, said by a number with a sign; and twice, the second time as if there were none
    path = damaged_tiffs.unread(tmp_path / "source.tif", 34712, tiled=True)
    data = path.read_bytes()
    entry = data.index(struct.pack("<HHI", 259, 3, 1))
    signed = data[: entry + 2] + struct.pack("<H", 8) + data[entry + 4 :]
    # The entry behind it, of the photometric interpretation, is made a second one of the compression
    doubled = data[: entry + 12] + struct.pack("<HHIHH", 259, 3, 1, 1, 0) + data[entry + 24 :]
    for changed in (signed, doubled):
        path.write_bytes(changed)
        seen = look(path)
        assert isinstance(seen, Failed)
        assert seen.code == "unsupported_format"
        with pytest.raises(StageError) as caught:
            reader_of(path).open()
        assert caught.value.code == "unsupported_format"
