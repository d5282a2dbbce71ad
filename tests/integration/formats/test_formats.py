"""The matrix: every kind of source, at several sizes and orientations, against pixels computed another way."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.child import find_header as look
from pipeline.formats.probe.protocol import Found
from pipeline.pyramids.geometry import Format
from tests.support.images import heics, makers, pictures, tiffs
from tests.support.images.matrix import CASES, Case
from tests.support.images.pictures import Pixels
from tests.support.rigs import formats_page
from tiler.build.pyramid import build
from tiler.decode import Picture, open_picture, reader_of
from tiler.failures import decoding_error
from tiler.job import Job
from tiler.progress import Meter

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


NO_METER = Meter(lambda *_: None)


def opened(path: Path) -> Picture:
    return open_picture(reader_of(path), meter=NO_METER)


def assert_like(found: Pixels, expected: Pixels, case: Case) -> None:
    """Hold pixels against their reference; where both are wholly transparent, colour is of no account."""
    found, expected = _without_opaque_alpha(found), _without_opaque_alpha(expected)
    assert found.shape == expected.shape
    distance = np.abs(found.astype(float) - expected)
    if found.shape[2] == 4:
        distance[(found[..., 3] == 0) & (expected[..., 3] == 0)] = 0
    assert distance.max() <= case.tolerance + 0.5, (distance.max(), distance.mean())
    assert distance.mean() <= case.mean + 0.3 * (case.tolerance > 0), (distance.max(), distance.mean())


def _without_opaque_alpha(pixels: Pixels) -> Pixels:
    return pixels[..., :3] if pixels.shape[2] == 4 and pixels[..., 3].min() == 255 else pixels


@each_case
@pytest.mark.parametrize("size", [(61, 37), (1, 1), (130, 5)], ids=lambda size: "x".join(map(str, size)))
def test_a_source_becomes_the_pixels_it_should(case: Case, size: tuple[int, int], tmp_path: Path) -> None:
    # Given a source of this kind, and what another decoder or numpy makes of it
    path = tmp_path / f"source.{case.ending}"
    expected = case.make(path, *size)
    # When it is opened, then its pixels are these
    picture = opened(path)
    assert (picture.image.format, picture.image.interpretation) == ("uchar", "srgb")
    assert_like(picture.image.numpy(), expected, case)


@each_case
def test_its_pyramid_is_right_at_every_level(case: Case, tmp_path: Path) -> None:
    # Given a source of this kind, tiled without further loss
    path = tmp_path / f"source.{case.ending}"
    case.make(path, 307, 270)
    job = Job(str(path), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")
    build(open_picture(reader_of(path), meter=NO_METER, tile_format=Format.PNG), job, NO_METER)
    # When its tiles are put together, then each level is the one above halved, in whole numbers
    tiles = pictures.deep_zoom(tmp_path / "pyramid.szi")
    found = [pictures.put_together(tiles, level, 256) for level in range(1 + max(level for level, _, _ in tiles))]
    expected = pictures.levels(found[-1])
    assert len(found) == len(expected) == 10
    for level, (pixels, reference) in enumerate(zip(found, expected, strict=True)):
        assert np.array_equal(pixels, reference), level


UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}
"""From stored to upright pixels, by EXIF's table (2.3, 4.6.4, tag 274)."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("ending", "options", "tolerance"),
    [
        ("jpg", {"quality": 100, "subsampling": 0}, 4),
        ("png", {}, 0),
        ("tif", {}, 0),
        ("webp", {"lossless": True}, 0),
        ("avif", {"quality": 100, "subsampling": "4:4:4"}, 4),
        ("heic", heics.LOSSLESS, 0),
    ],
)
def test_every_format_that_says_which_way_up_it_is_comes_upright(
    ending: str, options: dict[str, Any], tolerance: int, orientation: int, tmp_path: Path
) -> None:
    # Given a file tagged with an orientation; AVIF and HEIC have transformations for it, made of the tag
    pixels = pictures.scene(61, 37)
    exif = Image.Exif()
    exif[0x0112] = orientation
    tag: dict[str, Any] = {"tiffinfo": {0x0112: orientation}} if ending == "tif" else {"exif": exif}
    tag = {} if ending == "heic" else tag
    image = Image.fromarray(pixels)
    image.info["exif"] = exif.tobytes()  # where pillow-heif looks
    image.save(tmp_path / f"source.{ending}", **options, **tag)
    # When it is opened, then it stands as EXIF's table says, and is not tagged any more
    picture = opened(tmp_path / f"source.{ending}")
    expected = UPRIGHT[orientation](pixels)
    found = picture.image.numpy()
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= tolerance
    assert not picture.image.get_typeof("orientation")
    turned = orientation != 1 and ending not in {"avif", "heic"}
    assert picture.decisions == ([f"EXIF orientation {orientation} applied"] if turned else [])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_upright(orientation: int, tmp_path: Path) -> None:
    # Given a TIFF with such a tag, on which its decoder remarks
    pixels = pictures.scene(61, 37)
    Image.fromarray(pixels).save(tmp_path / "source.tif", tiffinfo={0x0112: orientation})
    source = reader_of(tmp_path / "source.tif")
    with pytest.raises(pyvips.Error, match="Orientation") as caught:
        open_picture(source, meter=NO_METER).image.numpy()
    # When that is overlooked, once, then it is upright
    assert source.overlook(caught.value)
    assert np.array_equal(open_picture(source, meter=NO_METER).image.numpy(), pixels)
    assert not source.overlook(caught.value)


@pytest.mark.parametrize(
    "size", [(1, 60_000), (60_000, 1), (255, 511), (256, 512), (257, 513), (1023, 1025), (1024, 2), (2, 1)]
)
@pytest.mark.parametrize("bands", [3, 4])
def test_a_size_at_the_edge_of_the_arithmetic_is_right_at_every_level(
    size: tuple[int, int], bands: int, tmp_path: Path
) -> None:
    pixels = pictures.noise(*size, bands=bands)
    source = pictures.save(pixels, tmp_path / "source.png", "srgb", compression=1)
    job = Job(str(source), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3")
    built = build(open_picture(reader_of(source), meter=NO_METER, tile_format=Format.PNG), job, NO_METER)
    tiles = pictures.deep_zoom(tmp_path / "pyramid.szi")
    expected = pictures.levels(pixels)
    assert built.tile_count == len(tiles)
    for level, reference in enumerate(expected):
        assert np.array_equal(pictures.put_together(tiles, level, 256), reference), level


@pytest.mark.parametrize(("ending", "options"), [("tif", {}), ("gif", {}), ("webp", {"lossless": True})])
def test_any_page_can_be_asked_for(ending: str, options: dict[str, Any], tmp_path: Path) -> None:
    # Given a file of three pages
    path = tmp_path / f"source.{ending}"
    pages = [Image.fromarray(pictures.scene(61, 37, seed=seed)) for seed in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    # When each is opened, then it is what Pillow sees there
    for number in range(3):
        with Image.open(path) as image:
            image.seek(number)
            expected = np.asarray(image.convert("RGB"))
        picture = open_picture(reader_of(path, number), meter=NO_METER)
        assert np.array_equal(picture.image.numpy()[..., :3], expected)
        assert (picture.source["pages"], picture.source["page"]) == (3, number)


@pytest.mark.parametrize("primary", [0, 1, 2])
def test_any_page_of_a_heic_can_be_asked_for(primary: int, tmp_path: Path) -> None:
    # Given a HEIC of three pictures, of which any is the primary one
    pages = [pictures.scene(61, 37 + number, seed=number) for number in range(3)]
    heics.pages(tmp_path / "source.heic", *pages, primary=primary)
    data = (tmp_path / "source.heic").read_bytes()
    # When each is opened, then page 0 is the primary one, and the others follow in their order
    others = [page for number, page in enumerate(pages) if number != primary]
    for number, expected in enumerate((pages[primary], *others)):
        picture = open_picture(reader_of(tmp_path / "source.heic", number), meter=NO_METER)
        assert picture.image.numpy().shape == expected.shape
        # The writer takes the matrix of the first picture alone: the others are rounded.
        assert np.abs(picture.image.numpy().astype(int) - expected).max() <= 2, number
        assert picture.source["pages"] == 3
        # And so it is for who looks at the header alone
        seen = look(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), number)
        assert isinstance(seen, Found)
        assert (seen.width, seen.height, seen.pages) == (61, expected.shape[0], 3)


def test_a_later_frame_covers_its_part_of_the_canvas_too(tmp_path: Path) -> None:
    # Given a GIF whose first frame leaves a border free, and whose second one, of one pixel, lies in its corner
    makers.frame_on_canvas(tmp_path / "source.gif", 61, 37)
    data = (tmp_path / "source.gif").read_bytes()
    pixel = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x07\x03\x80\x01\x81\0"
    (tmp_path / "source.gif").write_bytes(data[:-1] + pixel + data[-1:])
    # When either is opened
    alphas = [
        open_picture(reader_of(tmp_path / "source.gif", page), meter=NO_METER).image.numpy()[..., 3] for page in (0, 1)
    ]
    # Then it is transparent where nothing was drawn until then
    expected = np.zeros((37, 61), np.uint8)
    expected[5:, 3:] = 255
    assert np.array_equal(alphas[0], expected)
    expected[0, 0] = 255
    assert np.array_equal(alphas[1], expected)


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        ("tif", "Page 1 was requested, counted from 0, but this TIFF has one page."),
        ("jpg", "Page 1 was requested, counted from 0, but this JPEG has one page."),
        ("png", "Page 1 was requested, counted from 0, but this PNG has one page."),
        ("gif", "Page 1 was requested, counted from 0, but this GIF has one page."),
        ("webp", "Page 1 was requested, counted from 0, but this WebP has one page."),
        ("heic", "Page 1 was requested, counted from 0, but this HEIC has one page."),
        ("avif", "Page 1 was requested, counted from 0, but this AVIF has one page."),
    ],
)
def test_a_page_that_there_is_not_is_named(ending: str, sentence: str, tmp_path: Path) -> None:
    Image.fromarray(pictures.scene(61, 37)).save(tmp_path / f"source.{ending}")
    with pytest.raises(StageError) as caught:
        reader_of(tmp_path / f"source.{ending}", 1).header()
    assert (caught.value.code, caught.value.message) == ("page_not_found", sentence)


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("floats of 24 bits", np.ones((4, 4, 1), np.uint32), {"bits": 24, "more": {339: ("H", [3])}}),
        ("signed, of 12 bits", np.ones((4, 4, 1), np.uint16), {"bits": 12, "more": {339: ("H", [2])}}),
        ("bits that differ", np.ones((4, 4, 3), np.uint8), {"more": {258: ("H", [5, 6, 5])}}),
        ("CMYK of 12 bits", np.ones((4, 4, 4), np.uint16), {"bits": 12, "photometric": tiffs.SEPARATED}),
        ("10 bits as JPEG", np.ones((4, 4, 1), np.uint16), {"bits": 10, "compression": 7}),
        (
            "12 bits with a predictor",
            np.ones((4, 4, 1), np.uint16),
            {"bits": 12, "compression": 5, "more": {317: ("H", [2])}},
        ),
        ("CMYK in floats", np.ones((4, 4, 4), np.float32), {"photometric": tiffs.SEPARATED}),
        ("CIELAB of 8 bits as JPEG", np.ones((4, 4, 3), np.uint8), {"photometric": 8, "compression": 7}),
        (
            "planes of CIELAB by LZW",
            np.ones((4, 4, 3), np.uint16),
            {"photometric": 8, "planar": True, "compression": 5},
        ),
        (
            "a predictor that some apply and others ignore",
            np.ones((4, 4, 1), np.uint8),
            {"compression": 32773, "more": {317: ("H", [2])}},
        ),
        (
            "a predictor of a later note",
            np.ones((4, 4, 1), np.uint8),
            {"compression": 5, "more": {317: ("H", [34892])}},
        ),
        ("a compression that is none", np.ones((4, 4, 1), np.uint8), {"compression": 34892}),
    ],
)
def test_samples_that_cannot_be_read_are_an_unsupported_format(
    name: str, pixels: Pixels, options: dict[str, Any], tmp_path: Path
) -> None:
    source = reader_of(tiffs.write(tmp_path / "source.tif", pixels, **options))
    with pytest.raises((StageError, pyvips.Error)) as caught:
        open_picture(source, meter=NO_METER).image.avg()
    error = caught.value if isinstance(caught.value, StageError) else decoding_error(caught.value, source.path)
    assert error.code == "unsupported_format", name


def test_the_page_on_formats_says_what_the_tiler_does() -> None:
    # Given the page, when its table is made anew, then nothing changes; otherwise: make docs
    page = formats_page.PAGE.read_text(encoding="utf-8")
    assert page == formats_page.filled(page)
