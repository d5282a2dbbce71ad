"""What a TIFF leaves out, hides and marks as no data, compared with tifffile: every compression and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from pipeline.pyramids import PREVIEW, Format
from tests.support.images import masked_tiffs, pictures, sparse_tiffs
from tests.support.images.pictures import Pixels
from tiler.build.preview import make_preview
from tiler.decode import open_picture, reader_of
from tiler.decode.readers.tiff.overviews import overviews
from tiler.failures import decoding_error
from tiler.progress import Meter

NO_METER = Meter(lambda *_: None)


def shown(path: Path, tile_format: Format | None = Format.PNG, page: int = 0) -> Pixels:
    """What becomes of a page; raises StageError."""
    reader = reader_of(path, page)
    try:
        picture = open_picture(reader, meter=NO_METER, tile_format=tile_format)
        with picture.heeded():
            data = picture.image.write_to_memory()
    except pyvips.Error as error:
        raise decoding_error(reader.cause(error), path, page) from error
    return np.frombuffer(data, np.uint8).reshape(picture.image.height, picture.image.width, -1)


def look(path: Path, page: int = 0) -> Found | Failed | Unknown:
    """What ingest sees of a file before it fetches it."""
    data = path.read_bytes()
    return probe_child.find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), page)


def difference(found: Pixels, expected: Pixels) -> int:
    """The most by which visible colours, or the transparency, differ."""
    assert found.shape == expected.shape
    apart = np.abs(found.astype(int) - expected.astype(int))
    if expected.shape[2] == 4:
        apart[..., :3] *= expected[..., 3:] > 0
    return int(apart.max())


def test_what_is_left_out_is_nodata_or_zero_and_the_rest_is_there(tmp_path: Path) -> None:
    found = {
        one.path.name: difference(shown(one.path), one.pixels) - one.tolerance for one in sparse_tiffs.files(tmp_path)
    }
    assert len(found) > 40
    assert {name for name, beyond in found.items() if beyond > 0} == set()


def test_what_is_hidden_or_no_data_is_transparent_and_nothing_else(tmp_path: Path) -> None:
    for one in masked_tiffs.files(tmp_path):
        assert difference(shown(one.path), one.pixels) <= one.tolerance, one.path.name
        assert reader_of(one.path).header().pages == one.pages, one.path.name
        seen = look(one.path)
        assert isinstance(seen, Found), one.path.name
        assert (seen.width, seen.height, seen.pages) == (*one.pixels.shape[1::-1], one.pages), one.path.name
        # And JPEG tiles show the background there
        if one.pixels.shape[2] == 4:
            on_white = shown(one.path, Format.JPEG)
            assert (on_white[one.pixels[..., 3] == 0] == 255).all(), one.path.name


@pytest.mark.parametrize(("compression", "share"), [("lzw", 0.5), ("deflate", 0.5), ("zstd", 0), ("jpeg", 0.5)])
def test_a_damaged_tile_of_a_sparse_file_is_damage(compression: str, share: float, tmp_path: Path) -> None:
    # Given a file of which one tile is left out, and one damaged: the one that stands in for the others or another one
    path = tmp_path / "source.tif"
    scene = pictures.scene(150, 100)
    tifffile.imwrite(path, scene, photometric="rgb", compression=compression, tile=(64, 64), metadata=None)
    sparse_tiffs.leave_out(path, (0,))
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        places = list(zip(file.pages.first.dataoffsets, file.pages.first.databytecounts, strict=True))[1:]
    for offset, length in (min(places, key=lambda place: place[1]), max(places, key=lambda place: place[1])):
        damaged = bytearray(whole)
        # Beyond headers, so that a decoder begins
        at = offset + int(length * share)
        damaged[at : at + 64] = b"\xff\xd9" * 32
        path.write_bytes(damaged)
        with pytest.raises(StageError) as caught:
            shown(path)
        assert caught.value.code in (
            {"image_truncated", "image_corrupt"} if compression == "jpeg" else {"image_corrupt"}
        )


@pytest.mark.parametrize("compression", ["lzw", "deflate", "jpeg"])
def test_damage_that_is_accepted_is_told_from_what_is_left_out(compression: str, tmp_path: Path) -> None:
    # Given a file that leaves out a tile, and of which another one is damaged
    path = tmp_path / "source.tif"
    tifffile.imwrite(
        path, pictures.scene(150, 100), photometric="rgb", compression=compression, tile=(64, 64), metadata=None
    )
    sparse_tiffs.leave_out(path, (0,))
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages.first.dataoffsets[4], file.pages.first.databytecounts[4]
    data = bytearray(path.read_bytes())
    data[offset + length // 2 : offset + length // 2 + 64] = b"\xff\xd9" * 32
    path.write_bytes(data)
    # When its damage is accepted
    reader = reader_of(path)
    assert reader.salvage("It is damaged.")
    picture = open_picture(reader, meter=NO_METER, tile_format=Format.PNG)
    with picture.heeded():
        found = np.frombuffer(picture.image.write_to_memory(), np.uint8).reshape(100, 150, 4)
    # Then what is left out is black, what is damaged is transparent, and the rest is there
    alpha = np.full((100, 150), 255)
    alpha[64:, 64:128] = 0
    assert np.array_equal(found[..., 3], alpha)
    assert not found[:64, :64, :3].any()
    assert found[:64, 64:, :3].any(axis=2).mean() > 0.9


def test_a_place_without_bytes_and_bytes_without_a_place_stay_damage(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, pictures.scene(150, 100), photometric="rgb", tile=(64, 64), metadata=None)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        places = [tags[tag].valueoffset for tag in (324, 325)]
        sizes = [{3: 2, 4: 4}[int(tags[tag].dtype)] for tag in (324, 325)]
    for at, size in zip(places, sizes, strict=True):
        path.write_bytes(whole[:at] + bytes(size) + whole[at + size :])
        with pytest.raises(StageError) as caught:
            shown(path)
        assert caught.value.code == "image_corrupt"


def test_a_damaged_mask_fails_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(pictures.scene(150, 100), photometric="rgb", metadata=None)
        file.write(masked_tiffs.shape(), photometric="mask", subfiletype=4, compression="deflate", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as found:
        offset, length = found.pages[1].dataoffsets[0], found.pages[1].databytecounts[0]
    data[offset + length // 2] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(StageError) as caught:
        shown(path)
    assert caught.value.code == "image_corrupt"


def test_a_mask_has_no_number_and_is_no_overview(tmp_path: Path) -> None:
    # Given a page with a mask, a smaller version with its own, and another page with another mask
    path = tmp_path / "source.tif"
    first, second = pictures.scene(150, 100), pictures.scene(150, 100, seed=2)
    one, other = masked_tiffs.shape(), ~masked_tiffs.shape()
    with tifffile.TiffWriter(path) as file:
        file.write(first, photometric="rgb", metadata=None)
        file.write(one, photometric="mask", subfiletype=4, metadata=None)
        file.write(first[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(one[::2, ::2], photometric="mask", subfiletype=5, metadata=None)
        file.write(second, photometric="rgb", subfiletype=2, metadata=None)
        file.write(other, photometric="mask", subfiletype=6, metadata=None)
    expected = [(first, one), (first[::2, ::2], one[::2, ::2]), (second, other)]
    for page, (pixels, mask) in enumerate(expected):
        assert difference(shown(path, page=page), masked_tiffs.with_alpha(pixels, mask)) == 0
        seen = look(path, page)
        assert isinstance(seen, Found)
        assert (seen.width, seen.height, seen.pages) == (*mask.shape[::-1], 3)
    with pytest.raises(StageError) as caught:
        shown(path, page=3)
    assert (caught.value.code, "has 3 pages" in caught.value.message) == ("page_not_found", True)
    assert look(path, 3) == Failed("page_not_found", caught.value.message)
    assert [found[:2] for found in overviews(path, 0)] == [(75, 50)]


def test_the_preview_shows_what_the_mask_does(tmp_path: Path) -> None:
    # Given nine megapixels with an overview, both with a mask of which the left half is not shown
    path = tmp_path / "source.tif"
    big = np.full((3000, 3000, 3), (200, 40, 40), np.uint8)
    mask = np.zeros((3000, 3000), bool)
    mask[:, 1500:] = True
    options: dict[str, Any] = {"compression": "deflate", "tile": (256, 256), "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(big, photometric="rgb", **options)
        file.write(mask, photometric="mask", subfiletype=4, **options)
        file.write(big[::4, ::4], photometric="rgb", subfiletype=1, **options)
        file.write(mask[::4, ::4], photometric="mask", subfiletype=5, **options)
    reader = reader_of(path)
    assert make_preview(reader, reader.header(), tmp_path, NO_METER) == (750, 750)
    preview = np.asarray(Image.open(tmp_path / PREVIEW).convert("RGB")).astype(int)
    assert np.abs(preview[100:-100, 50:325] - 255).max() <= 2
    assert np.abs(preview[100:-100, 425:-50] - (200, 40, 40)).max() <= 4
