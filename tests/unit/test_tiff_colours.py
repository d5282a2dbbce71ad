"""What a TIFF's numbers stand for: each is shown as it is meant, or refused by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.probe.protocol import Failed
from pipeline.formats.tiff.colours import ycbcr_of
from tests.support.images import odd_tiffs, pictures, tiffs, ycbcr_tiffs
from tests.support.images.pictures import Pixels
from tests.unit.test_tiff_codecs import look
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

NEAR = 8
"""Most that any sample may differ, after colours are shared or coded by JPEG."""


def shown(path: Path) -> Pixels:
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    with picture.heeded():
        return np.asarray(picture.image.numpy())


def refused(path: Path) -> StageError:
    with pytest.raises(StageError) as caught:
        reader_of(path).open()
    return caught.value


@pytest.mark.parametrize("way", ycbcr_tiffs.WAYS, ids=lambda way: "-".join(map(str, way)))
def test_ycbcr_is_shown_as_rgb_or_refused(way: ycbcr_tiffs.Way, tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    expected = ycbcr_tiffs.write(path, way)
    if way.is_read:
        found = shown(path)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= NEAR
    else:
        # Before the download as after it
        seen = look(path)
        assert isinstance(seen, Failed)
        assert (seen.code, "YCbCr" in seen.message) == ("unsupported_format", True)
        assert refused(path).message == seen.message


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("sampling", ycbcr_tiffs.SAMPLINGS)
@pytest.mark.parametrize("byte", [-1, 200, 1000, 3000])
def test_a_changed_bit_breaks_deflates_checksum(
    byte: int, sampling: tuple[int, int], tiled: bool, tmp_path: Path
) -> None:
    # Given one changed bit, of the checksum itself or of what it is of
    way = ycbcr_tiffs.Way(8, sampling, apart=False, tiled=tiled)
    path = ycbcr_tiffs.changed(tmp_path / "source.tif", way, byte)
    with pytest.raises((StageError, pyvips.Error)) as caught:
        shown(path)
    # Then it is damage
    if isinstance(caught.value, StageError):
        assert caught.value.code == "image_corrupt"


ROUNDED = 3
"""Most that libtiff is beside it, which rounds every part to whole numbers."""

REC_709 = {529: ("I", [2126, 10000, 7152, 10000, 722, 10000])}
STUDIO = {532: ("I", [16, 1, 235, 1, 128, 1, 240, 1])}
"""Rationals, as pairs of whole numbers."""


def rationals(path: Path) -> Path:
    """Give the entries that were written as pairs of whole numbers their type."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        directory = tiff.find(file, 0)
        assert directory is not None
        for number, tag in enumerate(sorted(directory.entries)):
            if tag in {529, 532}:
                at = directory.offset + 2 + 12 * number
                data[at + 2 : at + 8] = struct.pack("<HI", 5, directory.entries[tag].values // 2)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("more", [{}, REC_709, {532: ("I", [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1])}])
def test_it_is_converted_as_libtiff_converts_coarse_colours(
    more: dict[int, tuple[str, list[int]]], tmp_path: Path
) -> None:
    # Given a picture of any values, whose pixels are alike two by two
    pixels = np.repeat(np.random.default_rng(3).integers(0, 256, (64, 32, 3), dtype=np.uint8), 2, axis=1)
    fine, coarse = tmp_path / "fine.tif", tmp_path / "coarse.tif"
    options: dict[str, Any] = {"photometric": tiffs.YCBCR}
    tiffs.write(fine, pixels, **options, more={530: ("H", [1, 1])} | more)
    data = ycbcr_tiffs.shared(pixels, (2, 1))
    tiffs.write(coarse, pixels, **options, encode=lambda _: data, more={530: ("H", [2, 1])} | more)
    # When libtiff converts it where colours are shared, then it comes to the same where none are
    expected = pyvips.Image.new_from_file(str(rationals(coarse))).numpy()[..., :3]
    assert np.abs(shown(rationals(fine)).astype(int) - expected).max() <= ROUNDED


@pytest.mark.parametrize(
    "more",
    [
        {529: ("I", [0, 1, 0, 1, 1, 1])},
        {529: ("H", [1, 1, 1])},
        {532: ("I", [16, 1, 16, 1, 128, 1, 240, 1, 128, 1, 240, 1])},
        STUDIO,
    ],
    ids=["no green", "whole numbers", "no span", "too few"],
)
def test_what_makes_no_sense_is_damage(more: dict[int, tuple[str, list[int]]], tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    tiffs.write(path, pictures.scene(64, 64), photometric=tiffs.YCBCR, more={530: ("H", [1, 1])} | more)
    if more.get(529, ("",))[0] != "H":
        rationals(path)
    assert refused(path).code == "image_corrupt"


def test_ycbcr_of_other_samples_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    for pixels in (pictures.scene(64, 64).astype(np.uint16), pictures.scene(64, 64, bands=4)):
        tiffs.write(path, pixels, photometric=tiffs.YCBCR, more={530: ("H", [1, 1])})
        assert "YCbCr with other than three samples of 8 bits" in refused(path).message


def test_nothing_is_converted_that_comes_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    for compression, sampling in ((ycbcr_tiffs.JPEG, (1, 1)), (1, (2, 2))):
        ycbcr_tiffs.write(path, ycbcr_tiffs.Way(compression, sampling, apart=False, tiled=False))
        with path.open("rb") as file:
            directory = tiff.find(file, 0)
            assert directory is not None
            assert ycbcr_of(directory) is None


def test_colours_that_nobody_shows_are_refused_by_name_before_the_download_and_after_it(tmp_path: Path) -> None:
    for path, name in odd_tiffs.unshown(tmp_path):
        seen = look(path)
        assert isinstance(seen, Failed), path.name
        assert (seen.code, name in seen.message) == ("unsupported_format", True), (path.name, seen)
        assert refused(path).message == seen.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_missing_is_black_and_infinity_an_end_where_white_is_zero(value: float, tmp_path: Path) -> None:
    pixels = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64, 1)
    pixels[10, 10] = value
    path = tiffs.write(tmp_path / "source.tif", pixels, photometric=tiffs.WHITE_IS_ZERO)
    found = shown(path)
    ends = {0: 255, 63: 0}
    assert {place: found[place, place, 0] for place in ends} == ends
    assert found[10, 10, 0] == (255 if value == -np.inf else 0)


@pytest.mark.parametrize("inks", [{}, {332: ("H", [1])}, {332: ("H", [1]), 334: ("H", [4])}])
def test_cmyk_is_read_whether_its_inks_are_named_or_not(inks: dict[int, tuple[str, list[int]]], tmp_path: Path) -> None:
    path = tmp_path / "source.tif"
    tiffs.write(path, pictures.scene(64, 64, bands=4), photometric=tiffs.SEPARATED, more=inks)
    assert shown(path).shape == (64, 64, 3)
