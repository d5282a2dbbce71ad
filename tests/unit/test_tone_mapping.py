"""Colours that a file states by numbers: against the formulae of the standards, and untouched if they are sRGB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from tests.support.images import avifs, heics, heifs, pictures, profiles, signals
from tiler.decode import open_picture, reader_of, tone_mapping
from tiler.decode.colour_spaces import PRIMARIES, ColourSpace, by_cicp, of_gamma
from tiler.progress import Meter

NO_METER = Meter(lambda *_: None)


def converted(samples: pictures.Pixels, space: ColourSpace) -> pictures.Pixels:
    image = pyvips.Image.new_from_array(samples)
    pixels: pictures.Pixels = tone_mapping.to_srgb(image, space).numpy()
    return pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("primaries", "transfer"),
    [
        (signals.P3, signals.SRGB),
        (signals.BT709, signals.LINEAR),
        (signals.BT2020, signals.SRGB),
        (signals.BT2020, signals.PQ),
        (signals.BT709, signals.PQ),
        (signals.BT2020, signals.HLG),
        (signals.BT709, signals.HLG),
    ],
)
def test_colours_are_those_of_the_formulae(primaries: int, transfer: int, kind: type) -> None:
    last = np.iinfo(kind).max
    samples = np.random.default_rng(4).integers(0, last + 1, (64, 64, 3), dtype=kind)
    found = converted(samples, by_cicp(primaries, transfer))
    # The matrices of the standards are printed with four digits
    assert np.abs(found - signals.srgb_of(samples, primaries, transfer, int(last))).max() <= 1.0


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.2, 2.8])
def test_a_power_law_is_one(gamma: float) -> None:
    samples = pictures.noise(64, 64)
    space = ColourSpace("", PRIMARIES[12][1], of_gamma(gamma))
    assert np.abs(converted(samples, space) - profiles.srgb_of(samples, profiles.DISPLAY_P3, gamma)).max() <= 1.0


@pytest.mark.parametrize("code", PRIMARIES)
def test_white_is_white_and_grey_is_grey_in_all_primaries(code: int) -> None:
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert np.abs(converted(greys, by_cicp(code, 13)).astype(int) - greys).max() <= 1


@pytest.mark.parametrize(
    ("transfer", "sample", "level"),
    [
        (signals.PQ, 0, 0),
        (signals.PQ, 33297, 186),  # 100 nits
        (signals.PQ, 38055, 243),  # 203 nits: white
        (signals.PQ, 49272, 254),  # 1,000 nits
        (signals.PQ, 65535, 255),  # 10,000 nits
        (signals.HLG, 0, 0),
        (signals.HLG, 49151, 243),  # 75 %: white
        (signals.HLG, 65535, 254),  # 1,000 nits
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_hdr_white_is_white_and_what_is_brighter_is_not_cut_off(
    transfer: int, sample: int, level: int, bands: int
) -> None:
    pixel = np.full((1, 1, bands), sample, np.uint16)
    assert set(converted(pixel, by_cicp(9, transfer)).ravel()) == {level}


@pytest.mark.parametrize("transfer", [signals.PQ, signals.HLG])
def test_brighter_stays_brighter(transfer: int) -> None:
    levels = converted(np.arange(65536, dtype=np.uint16)[None, :, None], by_cicp(9, transfer)).ravel().astype(int)
    assert (np.diff(levels) >= 0).all()
    assert np.diff(levels).max() <= 1


def test_transparency_is_kept() -> None:
    for kind, shift in ((np.uint8, 0), (np.uint16, 8)):
        for bands in (2, 4):
            samples = np.random.default_rng(5).integers(0, 2 ** (8 + shift), (9, 9, bands), dtype=kind)
            found = converted(samples, by_cicp(9, 16))
            assert found.shape == samples.shape
            assert np.array_equal(found[..., -1], samples[..., -1] >> shift)


ORDINARY = [(1, 13), (2, 2), (1, 1), (1, 6), (1, 14), (2, 13), (1, 2)]
"""Primaries and curve of sRGB, of nothing, and of cameras whose pictures are made for sRGB displays."""


@pytest.mark.parametrize("signal", ORDINARY, ids=str)
def test_ordinary_pictures_stay_untouched(signal: tuple[int, int], tmp_path: Path) -> None:
    # Given a HEIC and an AVIF that state sRGB, or next to nothing
    pixels = pictures.scene(61, 37)
    (tmp_path / "source.heic").write_bytes(avifs.stated(heics.encoded(pixels), primaries=signal[0], transfer=signal[1]))
    seen = avifs.saved(tmp_path / "source.avif", pixels, subsampling="4:4:4")
    data = (tmp_path / "source.avif").read_bytes()
    (tmp_path / "source.avif").write_bytes(avifs.stated(data, primaries=signal[0], transfer=signal[1]))
    plain = open_picture(reader_of(tmp_path / "source.heic"), meter=NO_METER)
    # When they are opened, then their pixels are those of the decoder
    assert np.array_equal(plain.image.numpy(), pixels)
    assert plain.decisions == []
    found = open_picture(reader_of(tmp_path / "source.avif"), meter=NO_METER)
    assert found.decisions == []
    assert np.abs(found.image.numpy().astype(int) - seen).max() <= 1


def test_what_cameras_write_into_coded_pictures_by_habit_is_not_believed(tmp_path: Path) -> None:
    # Given HEICs without a property, whose coded pictures state old video, wide colours, or HDR
    path, pixels = tmp_path / "source.heic", pictures.scene(61, 37)
    decisions = {}
    for primaries, transfer in ((5, 6), (6, 6), (1, 1), (9, 14), (9, 16)):
        options = {"color_primaries": primaries, "transfer_characteristics": transfer, "save_nclx_profile": True}
        path.write_bytes(avifs.unstated(heics.encoded(pixels, **options)))
        picture = open_picture(reader_of(path), meter=NO_METER)
        decisions[primaries, transfer] = picture.decisions
        assert np.array_equal(picture.image.numpy(), pixels) == (primaries < 9), (primaries, transfer)
    # When they are opened, then only what nobody writes by habit counts
    assert [bool(decisions[signal]) for signal in decisions] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("signal", "name"),
    [((3, 13), "colour primaries 3"), ((9, 200), "BT.2020 with transfer characteristics 200")],
)
def test_a_colour_space_that_is_not_known_is_noted(signal: tuple[int, int], name: str, tmp_path: Path) -> None:
    path = tmp_path / "source.avif"
    expected = avifs.saved(path, pictures.scene(61, 37), subsampling="4:4:4")
    path.write_bytes(avifs.stated(path.read_bytes(), primaries=signal[0], transfer=signal[1]))
    picture = open_picture(reader_of(path), meter=NO_METER)
    assert picture.decisions == [f"the picture's colour space ({name}) is not supported and was taken as sRGB"]
    assert np.abs(picture.image.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("transfer", [signals.PQ, signals.HLG])
def test_hdr_counts_if_a_profile_is_marked_with_it(ending: str, transfer: int, tmp_path: Path) -> None:
    # Given a file whose profile is marked as HDR, and another one that is marked as what it is
    path = tmp_path / f"source.{ending}"
    for profile, is_hdr in (
        (profiles.hdr_profile(9, transfer), True),
        (profiles.hdr_profile(1, 13), False),
        (profiles.hdr_profile(3, transfer), False),
    ):
        Image.fromarray(pictures.scene(61, 37)).save(path, icc_profile=profile, quality=100)
        # When it is opened, then only the first counts as HDR
        picture = open_picture(reader_of(path), meter=NO_METER)
        if not is_hdr:
            assert picture.decisions == ["converted to sRGB through the picture's own profile"]
            continue
        assert "(HDR) converted to sRGB" in picture.decisions[0]
        with Image.open(path) as image:
            expected = signals.srgb_of(np.asarray(image), 9, transfer)
        assert np.abs(picture.image.numpy() - expected).max() <= 1


def test_a_profile_overrides_numbers(tmp_path: Path) -> None:
    # Given a HEIC with the profile of one space, which also states another one by numbers
    path = tmp_path / "source.heic"
    expected = heics.with_profile(path, 64, 64, primaries=profiles.DISPLAY_P3, gamma=2.2)
    item = heifs.taken(1, path.read_bytes(), "heic")
    item = replace(item, properties=[*item.properties, heifs.nclx(9, 16, 0)])
    path.write_bytes(heifs.file_of([item], "heic"))
    picture = open_picture(reader_of(path), meter=NO_METER)
    assert picture.decisions == ["converted to sRGB through the picture's own profile"]
    assert np.abs(picture.image.numpy() - expected).max() <= 2
