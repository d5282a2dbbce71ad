"""From any picture to upright 8-bit sRGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from pipeline.pyramids.geometry import Format
from pipeline.stretch import Kind, Stretch, parse
from tests.support.images import pictures, png_chunks, tiffs
from tests.support.images.stretched import nearest_rank, stretched
from tiler.decode import Picture, open_picture, reader_of
from tiler.decode.samples import Shown
from tiler.progress import Meter

SCENE = pictures.scene(37, 21)


def open_here(path: Path, stretch: str = "") -> Picture:
    return open_picture(reader_of(path), meter=Meter(lambda *_: None), stretch=parse(stretch))


def pixels_of(picture: Picture) -> pictures.Pixels:
    image = picture.image
    assert (image.format, image.interpretation) == ("uchar", "srgb")
    found: pictures.Pixels = image.numpy()
    return found


def constant(value: list[float], dtype: type, interpretation: str, path: Path) -> Path:
    return pictures.save(np.full((4, 4, len(value)), value, dtype=dtype), path, interpretation)


def with_profile(pixels: pictures.Pixels, profile: bytes, path: Path) -> Path:
    Image.fromarray(pixels).save(path, icc_profile=profile)
    return path


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def p3_profile() -> bytes:
    # libvips' own, taken from a picture that it has converted
    image = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform("p3", input_profile="srgb")
    profile: bytes = image.get("icc-profile-data")
    return profile


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "gif"])
def test_lossless_8_bit_srgb_passes_through_untouched(ending: str, tmp_path: Path) -> None:
    # Given 216 colours at most, so that a GIF keeps them as well
    pixels = (SCENE // 51 * 51).astype(np.uint8)
    options: dict[str, dict[str, object]] = {"webp": {"lossless": True}, "gif": {"dither": 0}}
    picture = open_here(pictures.save(pixels, tmp_path / f"source.{ending}", "srgb", **options.get(ending, {})))
    assert np.array_equal(pixels_of(picture)[..., :3], pixels)
    assert picture.decisions == []


def test_a_picture_with_an_srgb_profile_passes_through_untouched(tmp_path: Path) -> None:
    picture = open_here(with_profile(SCENE, srgb_profile(), tmp_path / "source.png"))
    assert np.array_equal(pixels_of(picture), SCENE)
    assert picture.decisions == []


def test_a_picture_with_a_wider_profile_is_converted(tmp_path: Path) -> None:
    # Given sRGB's reddest red as Display P3 numbers it
    red = np.full((4, 4, 3), [234, 51, 35], dtype=np.uint8)
    picture = open_here(with_profile(red, p3_profile(), tmp_path / "source.png"))
    # Then it is (255, 0, 0) again, to the rounding of both
    assert np.abs(pixels_of(picture).astype(int) - [255, 0, 0]).max() <= 3
    assert picture.decisions == ["converted to sRGB through the picture's own profile"]
    assert not picture.image.get_typeof("icc-profile-data")


def test_a_profile_that_cannot_be_applied_is_ignored(tmp_path: Path) -> None:
    picture = open_here(with_profile(SCENE, b"no profile at all" * 20, tmp_path / "source.png"))
    assert np.array_equal(pixels_of(picture), SCENE)


@pytest.mark.parametrize("alpha", [0, 77, 255])
def test_alpha_is_kept_and_asks_for_png_tiles(alpha: int, tmp_path: Path) -> None:
    picture = open_here(constant([10, 20, 30, alpha], np.uint8, "srgb", tmp_path / "source.png"))
    assert picture.format is Format.PNG
    assert pixels_of(picture)[0, 0].tolist() == [10, 20, 30, alpha]


def test_grey_is_repeated_over_three_bands(tmp_path: Path) -> None:
    picture = open_here(constant([99], np.uint8, "b-w", tmp_path / "source.png"))
    assert pixels_of(picture)[0, 0].tolist() == [99, 99, 99]
    assert picture.format is Format.JPEG
    assert picture.decisions == ["grey repeated over three bands"]


def test_grey_with_alpha_keeps_its_alpha(tmp_path: Path) -> None:
    picture = open_here(constant([99, 7], np.uint8, "b-w", tmp_path / "source.png"))
    assert pixels_of(picture)[0, 0].tolist() == [99, 99, 99, 7]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.eye(8, dtype=np.uint8)[..., None] * 255
    picture = open_here(pictures.save(bits, tmp_path / "source.png", "b-w", bitdepth=1))
    assert np.array_equal(pixels_of(picture), np.repeat(bits, 3, axis=2))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_reduced_to_the_upper_8_on_request(ending: str, tmp_path: Path) -> None:
    source = constant([0x1234, 0xABCD, 0xFFFF, 0x8000], np.uint16, "rgb16", tmp_path / f"source.{ending}")
    picture = open_here(source, "none")
    assert pixels_of(picture)[0, 0].tolist() == [0x12, 0xAB, 0xFF, 0x80]
    assert picture.decisions == ["16-bit samples reduced to their upper 8 bits"]
    assert picture.shown is None


def test_16_bits_of_one_value_are_reduced_and_repeated(tmp_path: Path) -> None:
    picture = open_here(constant([0x8111], np.uint16, "grey16", tmp_path / "source.tif"))
    assert pixels_of(picture)[0, 0].tolist() == [0x81] * 3


def twelve_bits(more: int = 0) -> pictures.Pixels:
    """Samples up to 4,000 in 16 bits, and some at the greatest."""
    ramp = np.arange(0, 4000, dtype=np.uint16).reshape(50, 80, 1)
    ramp[0, :more] = 65535
    return ramp


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_that_use_12_are_seen_and_one_bright_pixel_changes_nothing(ending: str, tmp_path: Path) -> None:
    ramp = twelve_bits(more=1)
    picture = open_here(pictures.save(ramp, tmp_path / f"source.{ending}", "grey16"))
    found = pixels_of(picture)
    assert np.array_equal(found, stretched(ramp))
    assert np.unique(found).size == 256
    assert picture.shown == Shown(Stretch(Kind.PERCENTILE, 2, 98), "ushort", 80, 3920)
    assert picture.decisions == ["ushort samples from 80 to 3920 mapped to 0 to 255 (percentiles 2 to 98)"]


def test_16_bits_with_a_profile_are_colours(tmp_path: Path) -> None:
    image = pyvips.Image.new_from_array(twelve_bits().repeat(3, axis=2)).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", srgb_profile())
    for ending in ("png", "tif"):
        image.write_to_file(str(tmp_path / f"source.{ending}"))
        picture = open_here(tmp_path / f"source.{ending}")
        assert np.array_equal(pixels_of(picture)[..., 0], twelve_bits()[..., 0] >> 8)
        # When a stretch is asked for, then the samples count, and not the profile
        asked = open_here(tmp_path / f"source.{ending}", "percentile:0,100")
        assert np.array_equal(pixels_of(asked), stretched(twelve_bits(), 0, 100))


@pytest.mark.parametrize("stated", [(b"sRGB", b"\0"), png_chunks.gama(0.45455)])
def test_16_bits_of_a_png_that_states_its_colours_are_colours(stated: png_chunks.Chunk, tmp_path: Path) -> None:
    (tmp_path / "source.png").write_bytes(png_chunks.png(twelve_bits()[..., 0], [stated]))
    assert np.array_equal(pixels_of(open_here(tmp_path / "source.png"))[..., 0], twelve_bits()[..., 0] >> 8)


@pytest.mark.parametrize(
    ("tags", "dtype", "expected"),
    [
        ({340: ("H", [0]), 341: ("H", [8191])}, np.uint16, (0, 8191)),
        ({280: ("H", [0]), 281: ("H", [4095])}, np.uint16, (0, 4095)),
        ({340: ("f", [-1000.0]), 341: ("f", [9000.0])}, np.float32, (-1000, 9000)),
        # Where the samples lie outside, the tags are wrong
        ({280: ("H", [0]), 281: ("H", [255])}, np.uint16, (79, 3919)),
        ({340: ("H", [7]), 341: ("H", [7])}, np.uint16, (79, 3919)),
    ],
)
def test_a_range_that_the_file_states_counts_if_the_samples_lie_in_it(
    tags: dict[int, tuple[str, list[float]]], dtype: type, expected: tuple[float, float], tmp_path: Path
) -> None:
    ramp: pictures.Pixels = twelve_bits().astype(dtype)
    tiffs.write(tmp_path / "source.tif", ramp, more=tags)
    picture = open_here(tmp_path / "source.tif")
    assert picture.shown is not None
    assert (picture.shown.low, picture.shown.high) == expected


@pytest.mark.parametrize("asked", ["range:100,1100", "range", "percentile:10,90", "asinh", "asinh:0,100", "none"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_stretch_that_is_asked_for_is_done(asked: str, dtype: type, tmp_path: Path) -> None:
    ramp: pictures.Pixels = (twelve_bits() // (16 if dtype is np.uint8 else 1)).astype(dtype)
    tiffs.write(tmp_path / "source.tif", ramp)
    picture = open_here(tmp_path / "source.tif", asked)
    found = pixels_of(picture)[..., 0]
    if asked == "none":
        scale = {"u1": 1, "u2": 1 / 256, "i2": 255 / 65535, "f4": 255}[np.dtype(dtype).str[1:]]
        expected = np.clip((ramp[..., 0].astype(float) + (32768 if dtype is np.int16 else 0)) * scale, 0, 255)
        assert np.abs(found - expected).max() <= 1
        return
    low, high = {"range:100,1100": (100.0, 1100.0), "range": (float(ramp.min()), float(ramp.max()))}.get(
        asked
    ) or tuple(nearest_rank(ramp, each) for each in parse(asked).percentiles)
    share = np.clip((ramp[..., 0].astype(float) - low) / (high - low), 0, 1)
    if asked.startswith("asinh"):
        share = np.arcsinh(share / 0.1) / np.arcsinh(10)
    assert np.abs(found - np.rint(share * 255)).max() <= 1
    assert picture.shown is not None
    assert (picture.shown.low, picture.shown.high) == (low, high)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    # Given no ink, and all black ink
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, 2:, 3] = 255
    picture = open_here(pictures.save(pixels, tmp_path / "source.tif", "cmyk"))
    found = pixels_of(picture)
    # Then the paper is white and the ink is dark
    assert found.shape == (4, 4, 3)
    assert found[0, 0].min() >= 250
    assert found[0, 3].max() <= 60
    assert picture.decisions == ["CMYK converted to sRGB through libvips' default CMYK profile"]


def test_lab_is_converted(tmp_path: Path) -> None:
    picture = open_here(constant([50, 0, 0], np.float32, "lab", tmp_path / "source.tif"))
    assert pixels_of(picture)[0, 0].tolist() == [119, 119, 119]


def test_floats_of_all_colours_share_one_range(tmp_path: Path) -> None:
    # Given colours from 0.2 to 0.6, which a TIFF's reader takes for linear light
    ramp = np.linspace(0.2, 0.6, 48).astype(np.float32).reshape(4, 4, 3)
    picture = open_here(pictures.save(ramp, tmp_path / "source.tif", "scrgb"))
    # Then the least is black and the greatest 255, whichever band they are in, and steps between are even
    expected = np.rint((ramp - ramp.min()) * (255 / (ramp.max() - ramp.min())))
    assert np.abs(pixels_of(picture) - expected).max() <= 1
    assert picture.decisions == ["float samples from 0.2 to 0.6 mapped to 0 to 255 (percentiles 2 to 98)"]


@pytest.mark.parametrize(("alpha", "kept"), [([0, 0.2, 0.6, 1], True), ([0, 1, 2, 300], False)])
def test_a_float_band_after_the_colours_is_alpha_where_it_is_a_share(
    alpha: list[float], kept: bool, tmp_path: Path
) -> None:
    ramp = np.linspace(0, 900, 16).astype(np.float32).reshape(2, 2, 4)
    ramp[..., 3] = np.array(alpha).reshape(2, 2)
    found = pixels_of(open_here(pictures.save(ramp, tmp_path / "source.tif", "scrgb")))
    assert found.shape == (2, 2, 4 if kept else 3)
    if kept:
        assert found[..., 3].ravel().tolist() == [0, 51, 153, 255]


@pytest.mark.parametrize(("last", "kept"), [([0, 0.2, 0.6, 1], True), ([0, 1, 2, 300], False)])
@pytest.mark.parametrize("asked", ["range", "range:0,1000"])
def test_a_float_band_after_the_colours_is_told_from_alpha_for_a_range(
    last: list[float], kept: bool, asked: str, tmp_path: Path
) -> None:
    values = np.array([[[-500.0], [0.0]], [[1000.0], [250.0]]], np.float32)
    both = np.concatenate([values, np.array(last, np.float32).reshape(2, 2, 1)], axis=2)
    picture = open_here(tiffs.write(tmp_path / "source.tif", both, extra=[2]), asked)
    assert picture.shown is not None
    assert (picture.shown.low, picture.shown.high) == (0 if kept or asked != "range" else -500, 1000)
    found = pixels_of(picture)
    assert found.shape == (2, 2, 4 if kept else 3)
    assert found[1, :, 0].tolist() == ([255, 64] if kept or asked != "range" else [255, 128])


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "u4"])
@pytest.mark.parametrize("asked", ["none", "range", "auto"])
def test_no_data_changes_nothing_of_the_type_of_integers(kind: str, asked: str, tmp_path: Path) -> None:
    ends = np.iinfo(kind)
    values = np.array([[1, ends.max // 4], [ends.max // 2, ends.max]], kind)[..., None]
    nodata = tiffs.write(tmp_path / "nodata.tif", values, more={42113: ("B", b"1\0")})
    found, without = open_here(nodata, asked), open_here(tiffs.write(tmp_path / "plain.tif", values), asked)
    assert found.shown is not None
    assert without.shown is not None
    assert (found.shown.samples, found.source["samples"]) == (without.shown.samples, without.source["samples"])
    pixels = pixels_of(found)
    assert pixels[..., 3].tolist() == [[0, 255], [255, 255]]
    if asked == "none":
        assert np.array_equal(pixels[..., :3][pixels[..., 3] > 0], pixels_of(without)[pixels[..., 3] > 0])


def test_none_takes_the_upper_bits_of_16_where_some_have_no_data_too(tmp_path: Path) -> None:
    values = np.array([[1, 255, 511], [32767, 65279, 65535]], np.uint16)[..., None]
    found = pixels_of(open_here(tiffs.write(tmp_path / "nodata.tif", values, more={42113: ("B", b"1\0")}), "none"))
    assert found[..., 0].tolist() == [[0, 0, 1], [127, 254, 255]]
    assert found[..., 3].tolist() == [[0, 255, 255], [255, 255, 255]]


@pytest.mark.parametrize("value", [0.0, 0.5, 7.0, -3.0])
def test_a_picture_of_one_value_is_black(value: float, tmp_path: Path) -> None:
    picture = open_here(constant([value], np.float32, "b-w", tmp_path / "source.tif"))
    assert pixels_of(picture).max() == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_without_a_finite_value_is_black_or_white(value: float, tmp_path: Path) -> None:
    picture = open_here(constant([value], np.float32, "b-w", tmp_path / "source.tif"))
    assert np.unique(pixels_of(picture)).tolist() == [255 if value == np.inf else 0]
    assert picture.decisions[0].startswith("float samples without a finite value among them mapped as if from 0 to 0")


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int16])
def test_other_numbers_are_stretched_from_least_to_greatest(dtype: type, tmp_path: Path) -> None:
    heights: pictures.Pixels = np.array([[-100, 0], [200, 400]], dtype=dtype)[..., None]
    picture = open_here(pictures.save(heights, tmp_path / "source.tif", "b-w"))
    assert pixels_of(picture)[..., 1].tolist() == [[0, 51], [153, 255]]
    assert "samples from -100 to 400 mapped to 0 to 255 (percentiles" in picture.decisions[0]


@pytest.mark.parametrize(
    ("dtype", "least", "step"),
    [
        (np.uint32, 4_000_000_000, 1),
        (np.int32, -2_000_000_000, 1),
        (np.int32, -(2**31), 2**24),
        (np.float32, 2.0**20, 2.0**-3),
        (np.float32, 0.0, 2.0**-149),
        (np.float32, -(2.0**127), 2.0**120),
    ],
)
def test_no_level_is_lost_far_from_zero_nor_at_the_ends_of_a_types_range(
    dtype: type, least: float, step: float, tmp_path: Path
) -> None:
    # Given 256 levels that 24 bits cannot tell apart, or whose span or its inverse is no 32-bit float
    levels = np.arange(256).reshape(16, 16)
    heights: pictures.Pixels = (least + levels * step).astype(dtype)[..., None]
    found = pixels_of(open_here(pictures.save(heights, tmp_path / "source.tif", "b-w"), "range"))
    # Then each has its own place between black and white
    assert found[..., 0].tolist() == levels.tolist()


def test_missing_and_infinite_numbers_do_not_spoil_the_others(tmp_path: Path) -> None:
    heights = np.array([[-100, np.nan], [np.inf, 400]], dtype=np.float32)[..., None]
    found = pixels_of(open_here(pictures.save(heights, tmp_path / "source.tif", "b-w")))
    assert found[..., 0].tolist() == [[0, 0], [255, 255]]


def test_more_bands_than_colours_and_alpha_are_left_out(tmp_path: Path) -> None:
    picture = open_here(constant([1, 2, 3, 4, 5, 6, 7], np.uint8, "multiband", tmp_path / "source.tif"))
    assert pixels_of(picture)[0, 0].tolist() == [1, 2, 3]
    assert picture.decisions == ["the first 3 of 7 bands kept"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    # Given a picture tagged with an orientation
    image = Image.fromarray(SCENE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "source.png", exif=exif)
    # Then it stands as EXIF's table says
    upright = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.transpose(1, 0, 2),
        6: SCENE.transpose(1, 0, 2)[:, ::-1],
        7: SCENE.transpose(1, 0, 2)[::-1, ::-1],
        8: SCENE.transpose(1, 0, 2)[::-1],
    }[orientation]
    picture = open_here(tmp_path / "source.png")
    assert np.array_equal(pixels_of(picture), upright)
    assert not picture.image.get_typeof("orientation")
    assert picture.decisions == ([] if orientation == 1 else [f"EXIF orientation {orientation} applied"])
