"""The preview: what gives one, what it shows, and what it never costs."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from tests.support.images import pictures
from tiler.build.preview import make_preview
from tiler.decode import reader_of
from tiler.progress import Meter

WIDTH, HEIGHT = 4000, 2400
CORNERS = {"red": [255, 0, 0], "green": [0, 255, 0], "blue": [0, 0, 255], "white": [255, 255, 255]}


def quarters(width: int = WIDTH, height: int = HEIGHT) -> pictures.Pixels:
    """Red and green above, blue and white below: shows at a glance which way up a picture is."""
    four = np.array([[CORNERS["red"], CORNERS["green"]], [CORNERS["blue"], CORNERS["white"]]], dtype=np.uint8)
    return four.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def make(path: Path, page: int = 0) -> tuple[int, int] | None:
    source = reader_of(path, page)
    return make_preview(source, source.header(), path.parent, Meter(lambda *_: None))


def corners(path: Path) -> list[str]:
    """Names of the colours of the preview's quarters, row by row."""
    preview = pictures.decode((path.parent / "preview.jpg").read_bytes()).astype(int)
    height, width = preview.shape[:2]
    centres = [preview[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [min(CORNERS, key=lambda name: int(np.abs(pixel - CORNERS[name]).sum())) for pixel in centres]


def test_a_baseline_jpeg_gives_a_preview_of_1024_pixels(tmp_path: Path) -> None:
    # Given a JPEG of slopes and broad stripes, when a preview is made
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, 100 + 99 * np.sin((x + y) / 60)], axis=-1).astype(np.uint8)
    source = pictures.save(pixels, tmp_path / "source.jpg", Q=90)
    assert make(source) == (1024, 614)
    # Then it shows the picture, as Pillow shrinks it
    preview = pictures.decode((tmp_path / "preview.jpg").read_bytes()).astype(int)
    with Image.open(source) as image:
        expected = np.asarray(image.resize((1024, 614), Image.Resampling.BOX)).astype(int)
    assert np.abs(preview - expected).mean() < 3
    # And so does the thumbnail beside it
    thumbnail = pictures.decode((tmp_path / "preview-thumbnail.jpg").read_bytes()).astype(int)
    with Image.open(source) as image:
        expected = np.asarray(image.resize((512, 307), Image.Resampling.BOX)).astype(int)
    assert np.abs(thumbnail - expected).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (4, ["blue", "white", "red", "green"]),
        (5, ["red", "blue", "green", "white"]),
        (6, ["blue", "red", "white", "green"]),
        (7, ["white", "green", "blue", "red"]),
        (8, ["green", "white", "red", "blue"]),
    ],
)
def test_a_preview_is_upright(orientation: int, expected: list[str], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters()).save(tmp_path / "source.jpg", exif=exif)
    assert make(tmp_path / "source.jpg") == ((1024, 614) if orientation < 5 else (614, 1024))
    assert corners(tmp_path / "source.jpg") == expected


@pytest.mark.parametrize("layout", [{"subifd": True}, {"subifd": False}, {"compression": "jpeg"}])
def test_a_pyramid_tiff_gives_its_overview(layout: dict[str, object], tmp_path: Path) -> None:
    source = tmp_path / "source.tif"
    image = pyvips.Image.new_from_array(quarters(6000, 4000)).copy(interpretation="srgb")
    image.tiffsave(str(source), tile=True, pyramid=True, **layout)
    assert make(source) == (1024, 683)
    assert corners(source) == ["red", "green", "blue", "white"]


def test_a_pyramid_of_floats_is_stretched_in_its_preview_too(tmp_path: Path) -> None:
    # Given heights from 0 to 900 with a hole in them
    heights = np.tile(np.linspace(0, 900, 6000, dtype=np.float32), (4000, 1))[..., None]
    heights[:2000, :600] = np.nan
    source = tmp_path / "source.tif"
    image = pyvips.Image.new_from_array(heights).copy(interpretation="b-w")
    image.tiffsave(str(source), tile=True, pyramid=True, region_shrink="nearest")
    assert make(source) == (1024, 683)
    # Then the preview goes from black to white, and the hole is black
    preview = pictures.decode((tmp_path / "preview.jpg").read_bytes()).astype(int)
    assert preview[600, [0, 512, 1023], 0].tolist() == pytest.approx([0, 127, 255], abs=8)
    assert preview[100, 50].max() < 8


@pytest.mark.parametrize("are_all", [True, False])
def test_a_pyramid_of_channels_is_composed_in_its_preview_too(are_all: bool, tmp_path: Path) -> None:
    # Given two channels of dim ramps, across and down, with overviews as OME-TIFFs have them
    across = np.tile(np.linspace(100, 900, 3200).astype(np.uint16), (3200, 1))
    source = tmp_path / "source.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["A", "B"]}}
    with tifffile.TiffWriter(source) as file:
        both = np.stack([across, across.T])
        file.write(both, metadata=metadata, tile=(256, 256), subifds=1 if are_all else 0)
        if are_all:
            file.write(both[:, ::4, ::4], subfiletype=1, tile=(256, 256))
    # Then the preview shows both in their colours, or there is none
    reader = reader_of(source, None)
    size = make_preview(reader, reader.header(), tmp_path, Meter(lambda *_: None))
    if not are_all:
        assert size is None
        return
    assert size == (800, 800)
    preview = pictures.decode((tmp_path / "preview.jpg").read_bytes()).astype(int)
    assert preview[790, 790].tolist() == pytest.approx([255, 255, 255], abs=10)
    assert preview[10, 790].tolist() == pytest.approx([0, 255, 0], abs=10)
    assert preview[790, 10].tolist() == pytest.approx([255, 0, 255], abs=10)
    assert preview[400, 10].tolist() == pytest.approx([127, 0, 127], abs=10)


def with_thumbnail(pixels: pictures.Pixels, thumbnail: pictures.Pixels, path: Path) -> Path:
    """A progressive JPEG, upside down by its EXIF, whose second directory holds a small one (EXIF 2.3, 4.5.2)."""
    small = io.BytesIO()
    Image.fromarray(thumbnail).save(small, "JPEG", quality=95)
    # Offsets count from "MM": a directory of one entry at 8, one of three at 26, the thumbnail behind both
    first = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 3, 0, 26)
    entries = [(0x0103, 3, 6 << 16), (0x0201, 4, 26 + 2 + 3 * 12 + 4), (0x0202, 4, len(small.getvalue()))]
    second = struct.pack(">H", 3) + b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    exif = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + first + second + bytes(4) + small.getvalue()
    Image.fromarray(pixels).save(path, "JPEG", exif=exif, progressive=True)
    return path


def test_a_progressive_jpeg_gives_the_thumbnail_it_carries_upright(tmp_path: Path) -> None:
    source = with_thumbnail(quarters(), quarters(200, 120), tmp_path / "source.jpg")
    assert make(source) == (200, 120)
    assert corners(source) == ["white", "blue", "green", "red"]


def test_a_thumbnail_of_other_proportions_is_none_of_the_picture(tmp_path: Path) -> None:
    # Given a thumbnail with bars, as cameras make them, or of a picture that was cropped later
    source = with_thumbnail(quarters(), quarters(160, 120), tmp_path / "source.jpg")
    assert make(source) is None


def test_an_overview_of_another_part_is_none_of_the_picture(tmp_path: Path) -> None:
    # Given a slide's file: the picture, and a photograph of its label marked as reduced
    frames = [Image.fromarray(quarters()), Image.fromarray(quarters(500, 500))]
    frames[1].encoderinfo = {}
    frames[0].save(tmp_path / "source.tif", save_all=True, append_images=frames[1:], tiffinfo={254: 1})
    assert make(tmp_path / "source.tif") is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("progressive.jpg", {"interlace": True}),
        ("plain.png", {"compression": 1}),
        ("plain.webp", {"effort": 0}),
        ("strips.tif", {}),
        ("plain.gif", {"effort": 1}),
    ],
)
def test_what_would_cost_too_much_gives_none(name: str, options: dict[str, object], tmp_path: Path) -> None:
    assert make(pictures.save(quarters(), tmp_path / name, "srgb", **options)) is None
    assert not (tmp_path / "preview.jpg").exists()


def test_a_small_picture_gives_none(tmp_path: Path) -> None:
    # It is tiled before anyone has looked
    assert make(pictures.jpeg(tmp_path / "source.jpg", 2000, 2000)) is None


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_damaged_source_gives_none_and_no_error(share: float, tmp_path: Path) -> None:
    # Given a JPEG and a pyramid cut short behind their headers
    jpeg = pictures.save(pictures.scene(WIDTH, HEIGHT), tmp_path / "source.jpg", Q=60)
    jpeg.write_bytes(jpeg.read_bytes()[: int(jpeg.stat().st_size * share)])
    # Then there is just none
    assert make(jpeg) is None


def test_a_preview_holds_nothing_of_the_sources_metadata(tmp_path: Path) -> None:
    image = pyvips.Image.new_from_array(quarters()).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "Somebody Known (Somebody Known, ASCII, 15 components)")
    image.write_to_file(str(tmp_path / "source.jpg"))
    assert make(tmp_path / "source.jpg") is not None
    assert b"Somebody Known" not in (tmp_path / "preview.jpg").read_bytes()
