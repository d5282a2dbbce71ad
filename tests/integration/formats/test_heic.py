"""HEICs: what libheif passes over is found, and all of it goes on in the confined child."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.child import find_header as look
from pipeline.formats.probe.protocol import Failed
from pipeline.run import Run
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import heics, pictures
from tiler.decode import reader_of
from tiler.decode.readers.heif.items import Items
from tiler.decode.readers.heif.pages import pages_of
from tiler.job import Job
from tiler.parent import build


def damaged(data: bytes, at: int) -> bytes:
    """With eight bytes of noise."""
    return data[:at] + bytes.fromhex("a5c3f01e7b92d846") + data[at + 8 :]


def code_of(path: Path, page: int = 0) -> str:
    with pytest.raises(StageError) as caught:
        reader_of(path, page).open()
    return caught.value.code


def test_the_confined_child_tiles_one(tmp_path: Path) -> None:
    # Given a HEIC in tiles, with room for a preview
    source, scratch = tmp_path / "source.heic", tmp_path / "scratch"
    scratch.mkdir()
    pixels = heics.grid(source, 307, 270)
    job = Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", tile_format="png", preview=True)
    run = Run("r" * 32, pb.WakeUp(dataset_id="custom_0123abcd"), pb.Grant())
    # When the child builds it, then the lowest level holds its pixels
    built = build(run, job, threads=0)
    assert (built.width, built.height) == (307, 270)
    tiles = pictures.deep_zoom(scratch / "pyramid.szi")
    assert (pictures.put_together(tiles, 9, 256) == pixels).all()
    assert run.snapshot()[0].source == pb.SourceInfo(format="heif", width=307, height=270, pages=1)


def test_damage_in_any_tile_is_found(tmp_path: Path) -> None:
    # Given a HEIC of four tiles
    heics.grid(tmp_path / "source.heic", 128, 128)
    data = (tmp_path / "source.heic").read_bytes()
    with (tmp_path / "source.heic").open("rb") as file:
        coded = list(Items(file).coded(0))
    assert len(coded) == 4
    # When the middle of one is noise, then it is no picture
    for number, tile in enumerate(coded):
        at = data.index(tile.data) + len(tile.data) // 2
        (tmp_path / f"{number}.heic").write_bytes(damaged(data, at))
        assert code_of(tmp_path / f"{number}.heic") == "image_corrupt"


def test_damage_in_the_transparency_is_found(tmp_path: Path) -> None:
    heics.plain(tmp_path / "source.heic", 128, 96, bands=4)
    data = (tmp_path / "source.heic").read_bytes()
    with (tmp_path / "source.heic").open("rb") as file:
        colours, alpha = Items(file).coded(0)
    for name, part in (("colours", colours), ("alpha", alpha)):
        at = data.index(part.data) + len(part.data) // 2
        (tmp_path / name).write_bytes(damaged(data, at))
        assert code_of(tmp_path / name) == "image_corrupt"


def test_only_the_page_that_is_asked_for_counts(tmp_path: Path) -> None:
    # Given a HEIC of two pictures, of which the second is damaged
    pages = [pictures.scene(128, 96, seed=seed) for seed in (1, 2)]
    heics.pages(tmp_path / "whole.heic", *pages)
    data = (tmp_path / "whole.heic").read_bytes()
    with (tmp_path / "whole.heic").open("rb") as file:
        (second,) = Items(file, pages_of(tmp_path / "whole.heic")).coded(1)
    source = tmp_path / "source.heic"
    source.write_bytes(damaged(data, data.index(second.data) + len(second.data) // 2))
    # When each is opened, then the first is there, and the second is no picture
    assert (reader_of(source, 0).open().numpy() == pages[0]).all()
    assert code_of(source, 1) == "image_corrupt"


def test_one_that_is_cut_short_is_told_so(tmp_path: Path) -> None:
    heics.plain(tmp_path / "whole.heic", 128, 96)
    data = (tmp_path / "whole.heic").read_bytes()
    (tmp_path / "source.heic").write_bytes(data[:-100])
    assert code_of(tmp_path / "source.heic") == "image_truncated"


def test_items_that_are_made_of_each_other_come_to_an_end(tmp_path: Path) -> None:
    # Given a grid whose tiles are the grid itself
    heics.grid(tmp_path / "source.heic", 128, 128)
    data = bytearray((tmp_path / "source.heic").read_bytes())
    at = data.index(b"dimg") + 4
    struct.pack_into(">6H", data, at, 5, 4, 5, 5, 5, 5)
    (tmp_path / "source.heic").write_bytes(data)
    # When its parts are looked for, then there is none, and what opens it fails
    with (tmp_path / "source.heic").open("rb") as file:
        assert list(Items(file).coded(0)) == []
    with pytest.raises(pyvips.Error):
        reader_of(tmp_path / "source.heic").open()


def test_a_decoder_that_quotes_the_file_is_understood_all_the_same(tmp_path: Path) -> None:
    # Given a HEIC with a property of a name that is no text, which libheif quotes
    source, scratch = tmp_path / "source.heic", tmp_path / "scratch"
    scratch.mkdir()
    heics.grid(source, 128, 128)
    source.write_bytes(source.read_bytes().replace(b"ispe", b"is\xff\xfe"))
    # When the child opens it, then it fails with a reason
    job = Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")
    with pytest.raises(StageError) as caught:
        build(Run("r" * 32, pb.WakeUp(dataset_id="custom_0123abcd"), pb.Grant()), job, threads=0)
    assert caught.value.code == "image_corrupt"
    # And so does the look at its header
    data = source.read_bytes()
    seen = look(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), 0)
    assert isinstance(seen, Failed)
    assert seen.code == "image_corrupt"


@pytest.mark.parametrize("box", [b"iloc", b"iinf", b"iref", b"ipma", b"hvcC"])
def test_boxes_that_promise_more_than_they_hold_are_damage(box: bytes, tmp_path: Path) -> None:
    heics.grid(tmp_path / "source.heic", 128, 128)
    data = bytearray((tmp_path / "source.heic").read_bytes())
    at = data.index(box) + 4
    data[at + 4 : at + 40] = b"\xff" * 36
    (tmp_path / "source.heic").write_bytes(data)
    with pytest.raises((StageError, pyvips.Error)):
        reader_of(tmp_path / "source.heic").open()


def test_what_belongs_to_a_picture_and_is_not_decoded_is_not_looked_at(tmp_path: Path) -> None:
    # Given a picture with three auxiliary ones, of no kind that is known, of which one is damaged
    pixels = heics.with_auxiliaries(tmp_path / "source.heic", 128, 128, edge=256, count=3)
    with (tmp_path / "source.heic").open("rb") as file:
        (only,) = Items(file).coded(0)
    data = bytearray((tmp_path / "source.heic").read_bytes())
    data[-200:-100] = bytes(100)
    (tmp_path / "source.heic").write_bytes(data)
    # Then it is that picture alone
    assert only.times == 1
    assert (reader_of(tmp_path / "source.heic").open().numpy() == pixels).all()


def test_a_grid_that_is_put_together_from_far_more_than_it_shows_is_refused(tmp_path: Path) -> None:
    # Given 64 x 64 pixels that are shown of 1,024 x 1,024 forty times over
    heics.hoarding(tmp_path / "source.heic", edge=1024, count=40)
    assert code_of(tmp_path / "source.heic") == "decoder_too_slow"
    # And of a few, as a grid's edges are filled up
    heics.hoarding(tmp_path / "few.heic", edge=512, count=2)
    assert reader_of(tmp_path / "few.heic").open().width == 64


def test_parts_of_parts_are_counted_by_all_that_name_them(tmp_path: Path) -> None:
    # Given a grid of four, whose second, third and fourth parts are the first, which is the grid's own part, too
    heics.grid(tmp_path / "source.heic", 128, 128)
    data = bytearray((tmp_path / "source.heic").read_bytes())
    struct.pack_into(">6H", data, data.index(b"dimg") + 4, 5, 4, 1, 1, 2, 5)
    (tmp_path / "source.heic").write_bytes(data)
    with (tmp_path / "source.heic").open("rb") as file:
        assert sorted(picture.times for picture in Items(file).coded(0)) == [1, 2]
