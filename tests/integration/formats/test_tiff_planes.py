"""Separate planes, four samples in JPEG tiles, and directories that libtiff remarks on: all as others read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.errors import StageError
from tests.support.images import damaged_tiffs, planar_tiffs, remarked_tiffs, tiffs
from tests.support.images.pictures import Pixels, scene
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter


def shown(path: Path) -> Pixels:
    """Decode a file as the tiler's child does."""
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    with picture.heeded():
        memory = picture.image.write_to_memory()
    return np.frombuffer(memory, np.uint8).reshape(picture.image.height, picture.image.width, picture.image.bands)


@pytest.mark.parametrize("case", list(planar_tiffs.cases()), ids=lambda case: case.name)
def test_planes_come_out_as_they_went_in(tmp_path: Path, case: planar_tiffs.Case) -> None:
    path = tmp_path / case.name
    expected = planar_tiffs.write(path, case).astype(int)
    found = shown(path)[..., :3]
    tolerance = planar_tiffs.LOSS if case.compression == "jpeg" else 1 if case.dtype.startswith("float") else 0
    assert np.abs(found - expected).max() <= tolerance


def test_colours_in_planes_are_divided_by_the_alpha_that_they_are_multiplied_by(tmp_path: Path) -> None:
    for path, expected in planar_tiffs.premultiplied(tmp_path):
        found = shown(path)
        assert found.shape == expected.shape, path.name
        assert np.abs(found.astype(int) - expected).max() <= 1, path.name


@pytest.mark.parametrize("more", [(1, 0), (0, 1)])
def test_colours_are_divided_by_an_alpha_that_is_not_shown(tmp_path: Path, more: tuple[int, int]) -> None:
    # Given an alpha beside a measurement, so that neither is shown
    drawn = scene(96, 96)
    alpha = np.full((96, 96, 1), 128, np.uint8)
    extra = [alpha if meaning else 255 - alpha // 2 for meaning in more]
    stored = np.concatenate([drawn // 2, *extra], axis=2)
    encode = planar_tiffs.ENCODERS["lzw"][1]
    path = tiffs.write(tmp_path / "a.tif", stored, planar=True, tile=32, extra=more, compression=5, encode=encode)
    assert np.abs(shown(path).astype(int) - (drawn // 2) * 255.0 / 128).max() <= 1


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", planar_tiffs.ENCODERS)
def test_a_single_plane_that_is_said_to_be_separate_is_read(tmp_path: Path, compression: str, tiled: bool) -> None:
    expected = planar_tiffs.single(tmp_path / "single.tif", compression=compression, tiled=tiled)
    assert np.array_equal(shown(tmp_path / "single.tif"), expected)


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("damage", damaged_tiffs.DAMAGES)
@pytest.mark.parametrize("compression", ["lzw", "packbits", "jpeg"])
def test_a_damaged_plane_fails_or_is_what_others_see(
    tmp_path: Path, compression: str, damage: str, tiled: bool
) -> None:
    path = tmp_path / "damaged.tif"
    planar_tiffs.write(path, planar_tiffs.Case(compression, 3, "uint8", tiled))
    for place in damaged_tiffs.PLACES:
        broken = tmp_path / f"{place}.tif"
        broken.write_bytes(path.read_bytes())
        damaged_tiffs.damaged(broken, damage, place)
        try:
            found = shown(broken)
        except (pyvips.Error, StageError):
            continue
        others = damaged_tiffs.another_reader(broken)
        assert others is not None
        assert np.abs(found.astype(int) - others.transpose(1, 2, 0)).mean() <= (3 if compression == "jpeg" else 0)


@pytest.mark.parametrize("photometric", [tiffs.RGB, tiffs.BLACK_IS_ZERO])
def test_four_samples_in_jpeg_tiles_are_read(tmp_path: Path, photometric: int) -> None:
    expected = planar_tiffs.four_in_jpeg_tiles(tmp_path / "four.tif", photometric=photometric)
    found = shown(tmp_path / "four.tif")
    shared = 4 if photometric == tiffs.RGB else 3
    assert np.abs(found[..., :shared].astype(int) - expected[..., :shared]).max() <= planar_tiffs.LOSS


def test_a_damaged_tile_of_four_samples_fails(tmp_path: Path) -> None:
    path = tmp_path / "four.tif"
    planar_tiffs.four_in_jpeg_tiles(path, photometric=tiffs.RGB)
    damaged_tiffs.damaged(path, "noise", "middle")
    reader = reader_of(path)
    with pytest.raises((pyvips.Error, StageError)) as caught, reader.heeded():
        reader.open().write_to_memory()
    assert isinstance(reader.cause(caught.value), StageError)


def test_bands_that_are_not_shown_are_not_read(tmp_path: Path) -> None:
    # Given a hundred bands of which three are shown
    tiffs.write(tmp_path / "bands.tif", np.repeat(scene(64, 64), 34, axis=2), planar=True, rows=16, extra=[0] * 99)
    picture = open_picture(reader_of(tmp_path / "bands.tif"), meter=Meter(lambda *_: None))
    assert picture.source["bands"] == 102
    assert np.array_equal(picture.image.numpy(), np.repeat(scene(64, 64), 34, axis=2)[..., :3])


def test_what_libtiff_remarks_on_a_directory_is_no_loss_of_pixels(tmp_path: Path) -> None:
    for path, expected in remarked_tiffs.files(tmp_path):
        assert np.array_equal(shown(path)[..., : expected.shape[2]], expected), path.name


def test_a_directory_whose_pixels_have_to_be_guessed_fails(tmp_path: Path) -> None:
    for path in remarked_tiffs.guessed(tmp_path):
        with pytest.raises((pyvips.Error, StageError)):
            shown(path)
