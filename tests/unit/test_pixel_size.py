"""How large a pixel is, as each format says it, in the upright page that is shown."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.formats.density import measured
from pipeline.pixel_size import PixelSize, of_metres, parse, parse_text
from tests.support.images import png_chunks
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

WIDE = np.zeros((20, 40, 3), np.uint8)
GREY = np.zeros((20, 40), np.uint8)
MICRO, MILLI, INCH = 1e-6, 1e-3, 0.0254

TURNED, UPSIDE_DOWN = [(274, 3, 1, 6, True)], [(274, 3, 1, 3, True)]

APERIO = "Aperio Image Library v10.0.51\r\n{0}x{1} (240x240) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990|Left = 25.7"

Write = Callable[[Path], object]


def size_in(path: Path, page: int | None = None) -> tuple[float, float] | None:
    """Width and height of a pixel in metres, as a pyramid of the page would state them."""
    picture = open_picture(reader_of(path, page), meter=Meter(lambda *_: None))
    size = picture.pixel_size
    if size is None:
        return None
    units = {"nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "m": 1.0, "km": 1e3}
    return size.x * units[size.unit], size.y * units[size.unit]


def tiff(data: Any = WIDE, **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, data, **{"metadata": None} | options)


def ome(**stated: Any) -> Write:
    return lambda path: tifffile.imwrite(path, GREY, ome=True, metadata={"axes": "YX", **stated})


def imagej(unit: str, per_unit: tuple[float, float], data: Any = GREY) -> Write:
    return lambda path: tifffile.imwrite(path, data, imagej=True, resolution=per_unit, metadata={"unit": unit})


def pillow(kind: str, dpi: tuple[float, float], orientation: int = 1, *, camera: bool = False) -> Write:
    def write(path: Path) -> None:
        tags = Image.Exif()
        tags[274] = orientation
        if camera:
            tags.get_ifd(0x8769)[33434] = 0.01  # ExposureTime
        Image.fromarray(WIDE).save(path, kind, dpi=dpi, exif=tags)

    return write


def phys(across: int, down: int, unit: int) -> Write:
    chunk = png_chunks.chunk(b"pHYs", struct.pack(">IIB", across, down, unit))

    def write(path: Path) -> None:
        Image.fromarray(WIDE).save(path, "PNG")
        whole = path.read_bytes()
        path.write_bytes(whole[:33] + chunk + whole[33:])

    return write


@pytest.mark.parametrize(
    ("write", "metres"),
    [
        (tiff(resolution=(600, 400), resolutionunit="inch"), (INCH / 600, INCH / 400)),
        (tiff(resolution=(22654, 22654), resolutionunit="centimeter"), (0.01 / 22654, 0.01 / 22654)),
        (tiff(resolution=(600, 400), resolutionunit="none"), None),
        (tiff(resolution=(300, 300), resolutionunit="inch"), None),
        (tiff(resolution=(28.35, 28.35), resolutionunit="centimeter"), None),
        (tiff(resolution=(600, 400), resolutionunit="inch", extratags=TURNED), (INCH / 400, INCH / 600)),
        (tiff(resolution=(600, 400), resolutionunit="inch", extratags=UPSIDE_DOWN), (INCH / 600, INCH / 400)),
        (tiff(description=APERIO.format(40, 20)), (0.499 * MICRO, 0.499 * MICRO)),
        (tiff(description=APERIO.format(40, 20).replace("0.4990", "1e999")), None),
        (ome(PhysicalSizeX=0.65, PhysicalSizeXUnit="µm", PhysicalSizeY=650, PhysicalSizeYUnit="nm"), (65e-8, 65e-8)),
        (ome(PhysicalSizeX=0.2, PhysicalSizeY=0.3), (0.2 * MICRO, 0.3 * MICRO)),
        (ome(PhysicalSizeX=1.5, PhysicalSizeXUnit="Å", PhysicalSizeY=2, PhysicalSizeYUnit="Å"), (1.5e-10, 2e-10)),
        (ome(PhysicalSizeX=2, PhysicalSizeXUnit="pixel", PhysicalSizeY=2, PhysicalSizeYUnit="pixel"), None),
        (ome(PhysicalSizeX=2, PhysicalSizeXUnit="reference frame"), None),
        (ome(), None),
        (imagej("um", (4, 2)), (0.25 * MICRO, 0.5 * MICRO)),
        (imagej("micron", (4, 4), WIDE), (0.25 * MICRO, 0.25 * MICRO)),
        (imagej("\\u00B5m", (10, 10)), (0.1 * MICRO, 0.1 * MICRO)),
        (imagej("pixel", (4, 4)), None),
        (imagej("inch", (72, 72)), None),
        (pillow("JPEG", (600, 600)), (INCH / 600, INCH / 600)),
        (pillow("JPEG", (72, 72)), None),
        (pillow("JPEG", (600, 400), 8), (INCH / 400, INCH / 600)),
        (pillow("JPEG", (600, 600), camera=True), None),
        (pillow("PNG", (600, 600)), (1 / 23622, 1 / 23622)),
        (pillow("PNG", (600, 600), camera=True), None),
        (phys(40000, 20000, 1), (1 / 40000, 1 / 20000)),
        (phys(2835, 2835, 1), None),
        (phys(1000, 1000, 1), None),
        (phys(4, 3, 0), None),
        (phys(0, 5, 1), None),
        (phys(2**32 - 1, 2**32 - 1, 1), None),
    ],
)
def test_a_pixels_size_is_what_its_file_has_measured(
    write: Write, metres: tuple[float, float] | None, tmp_path: Path
) -> None:
    write(tmp_path / "source")
    found = size_in(tmp_path / "source")
    assert found == (metres and pytest.approx(metres, rel=1e-6))


def test_a_smaller_version_has_larger_pixels_and_a_label_none(tmp_path: Path) -> None:
    # Given a slide as Aperio's scanners write it, whose pages repeat the description
    with tifffile.TiffWriter(tmp_path / "slide.svs") as file:
        options: dict[str, Any] = {"metadata": None, "photometric": "rgb"}
        file.write(np.zeros((320, 640, 3), np.uint8), description=APERIO.format(640, 320), **options)
        file.write(np.zeros((80, 160, 3), np.uint8), description=APERIO.format(160, 80), **options)
        file.write(np.zeros((50, 60, 3), np.uint8), description="Aperio Image Library\r\nlabel 60x50", **options)
        file.write(np.zeros((60, 300, 3), np.uint8), description="Aperio Image Library\r\nthumbnail", **options)
    for page, times in ((0, 1), (1, 4)):
        assert size_in(tmp_path / "slide.svs", page) == pytest.approx((0.499 * MICRO * times,) * 2)
    assert [size_in(tmp_path / "slide.svs", page) for page in (2, 3)] == [None, None]


def test_a_smaller_version_of_a_tiff_has_not_the_resolution_that_its_writer_repeats(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "levels.tif") as file:
        options: dict[str, Any] = {"metadata": None, "resolution": (10000, 5000), "resolutionunit": "centimeter"}
        file.write(np.zeros((200, 400, 3), np.uint8), **options)
        file.write(np.zeros((100, 200, 3), np.uint8), subfiletype=1, **options)
        file.write(np.zeros((70, 200, 3), np.uint8), **options)
        file.write(np.zeros((200, 200, 3), np.uint8), subfiletype=1, **options)
    sizes = [size_in(tmp_path / "levels.tif", page) for page in range(4)]
    assert sizes[:3] == [pytest.approx(edges) for edges in ((1e-6, 2e-6), (2e-6, 4e-6), (1e-6, 2e-6))]
    assert sizes[3] is None


def test_each_image_of_an_ome_tiff_has_its_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as file:
        file.write(GREY, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
        file.write(GREY, metadata={"axes": "YX", "PhysicalSizeX": 3, "PhysicalSizeY": 3})
    assert size_in(tmp_path / "two.ome.tif", 0) == pytest.approx((0.5 * MICRO,) * 2)
    assert size_in(tmp_path / "two.ome.tif", 1) == pytest.approx((3 * MICRO,) * 2)


def test_a_chunk_with_a_wrong_checksum_says_nothing(tmp_path: Path) -> None:
    phys(40000, 40000, 1)(tmp_path / "source.png")
    whole = bytearray((tmp_path / "source.png").read_bytes())
    whole[33 + 8 + 2] ^= 1
    (tmp_path / "source.png").write_bytes(whole)
    assert size_in(tmp_path / "source.png") is None


def test_broken_values_cost_the_size_and_not_the_image(tmp_path: Path) -> None:
    # Given resolutions of 1/0 and 0/0, and one whose bytes lie behind the end of the file
    for name, change in (("zero", b"\0" * 16), ("far", None)):
        tiff(resolution=(600, 600), resolutionunit="inch")(tmp_path / name)
        whole = bytearray((tmp_path / name).read_bytes())
        with tifffile.TiffFile(tmp_path / name) as file:
            tag = file.pages.first.tags["XResolution"]
        if change is None:
            whole[tag.offset + 8 : tag.offset + 12] = struct.pack("<I", 1 << 30)
        else:
            whole[tag.valueoffset : tag.valueoffset + 16] = change
        (tmp_path / name).write_bytes(whole)
        assert size_in(tmp_path / name) is None


def test_the_rule_about_defaults_counts_only_where_both_edges_are_one() -> None:
    assert measured(300, 300, INCH) is None
    assert measured(118.11, 118.11, 0.01) is None
    assert measured(204, 98, INCH) == PixelSize(0.124509804, 0.259183673, "mm")
    assert measured(300, 600, INCH) is not None
    assert measured(math.nan, 600, INCH) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.25 µm", PixelSize(0.25, 0.25, "µm")),
        ("0.25um", PixelSize(0.25, 0.25, "µm")),
        (" 21 x 42.5 mm ", PixelSize(21, 42.5, "mm")),
        ("2e3 \u00d7 1 m", None),
        ("1,2 m", PixelSize(1, 2, "m")),
        ("0 m", None),
        ("-1 m", None),
        ("2e3 \u00d7 1e3 m", PixelSize(2000, 1000, "m")),
        ("nan m", None),
        ("1e99 km", None),
        ("1", None),
        ("1 furlong", None),
    ],
)
def test_a_size_is_written_as_people_write_it(text: str, size: PixelSize | None) -> None:
    try:
        found: PixelSize | None = parse_text(text)
    except ValueError:
        found = None
    assert found == size


def test_a_computed_size_has_the_unit_that_fits() -> None:
    assert of_metres(6.5e-8, 6.5e-8) == PixelSize(65, 65, "nm")
    assert of_metres(0.1 + 0.2, 0.3) == PixelSize(0.3, 0.3, "m")
    assert of_metres(30, 30) == PixelSize(30, 30, "m")
    assert of_metres(math.inf, 1) is None
    with pytest.raises(ValueError, match="unit must be one of"):
        parse(1, 1, "px")
