"""Where an image lies on Earth: as GeoTIFF and the files beside it say, turned, in WGS 84, and what is refused."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import tifffile
from hypothesis import given as for_any
from hypothesis import strategies as st

from gateway.tiles.mercator import Grid, grid_of
from pipeline.formats.side_files import SideFiles, auxiliary_file, names_beside, projection_file, world_file
from pipeline.georeference import (
    MOST_POINTS,
    Georeference,
    apply,
    fit,
    given,
    ground_size,
    located_by_formula,
    parse_text,
    sane,
    stored_by_upright,
    turned,
)
from pipeline.pyramids import Geometry
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

WIDE = np.zeros((20, 40), np.uint8)
SCALE, TIES, MATRIX, KEYS, TEXTS = 33550, 33922, 34264, 34735, 34737
NORTH_UP = (10.0, 0.0, 500000.0, 0.0, -10.0, 5400000.0)

WKT = 'PROJCS["x",GEOGCS["y",DATUM["z",SPHEROID["w",6378137,298.25]],PRIMEM["Greenwich",0],UNIT["d",0.01]]]'


def keys(*pairs: tuple[int, int]) -> tuple[int, str, int, list[int], bool]:
    """The tag of geo keys that are numbers."""
    values = [1, 1, 0, len(pairs)]
    for key, value in pairs:
        values += [key, 0, 1, value]
    return KEYS, "H", len(values), values, True


def doubles(tag: int, *values: float) -> tuple[int, str, int, tuple[float, ...], bool]:
    return tag, "d", len(values), values, True


def geotiff(path: Path, *tags: Any, orientation: int = 1, **options: Any) -> Path:
    extra = [*tags, (274, "H", 1, orientation, True)]
    tifffile.imwrite(path, WIDE, **{"metadata": None, "extratags": extra} | options)
    return path


def place_in(path: Path, page: int | None = None, **beside: str) -> Georeference | None:
    """Where the upright page lies, as a pyramid of it would state it."""
    reader = reader_of(path, page)
    return open_picture(reader, meter=Meter(lambda *_: None), beside=SideFiles(**beside)).georeference


PLAIN = (doubles(SCALE, 10, 10, 0), doubles(TIES, 0, 0, 0, 500000, 5400000, 0))


def test_a_geotiff_says_it_by_scale_and_tiepoint_by_matrix_and_by_points(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    utm = keys((1024, 1), (1025, 1), (3072, 32632))
    # A scale with one tiepoint, which need not be the corner, and whose scale always points down
    assert place_in(geotiff(file, *PLAIN, utm)) == Georeference("EPSG:32632", NORTH_UP)
    inner = (doubles(SCALE, 10, -10, 0), doubles(TIES, 4, 5, 0, 500040, 5399950, 0))
    assert place_in(geotiff(file, *inner, utm)) == Georeference("EPSG:32632", NORTH_UP)
    # The point of a pixel is its middle
    middles = keys((1024, 1), (1025, 2), (3072, 32632))
    assert place_in(geotiff(file, *PLAIN, middles)) == Georeference("EPSG:32632", (10, 0, 499995, 0, -10, 5400005))
    # A matrix, which may turn
    matrix = doubles(MATRIX, 0, 10, 0, 7, 10, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1)
    assert place_in(geotiff(file, matrix, utm)) == Georeference("EPSG:32632", (0, 10, 7, 10, 0, 8))
    assert place_in(geotiff(file, matrix, middles)) == Georeference("EPSG:32632", (0, 10, 2, 10, 0, 3))
    # Tiepoints alone are control points
    corners = [(0.0, 0.0, 9.0, 48.0), (40, 0, 10, 48), (0, 20, 9, 47), (40, 20, 10, 47)]
    ties = doubles(TIES, *(number for x, y, east, north in corners for number in (x, y, 0, east, north, 0)))
    degrees = keys((1024, 2), (1025, 1), (2048, 4326))
    found = place_in(geotiff(file, ties, degrees))
    assert found == Georeference("EPSG:4326", (), tuple(corners))
    located = located_by_formula(found, 40, 20)
    assert located is not None
    assert located.bounds == pytest.approx((9, 47, 10, 48))
    # A system of the file's own is unknown, unless it is Esri's text
    assert place_in(geotiff(file, *PLAIN, keys((1024, 1), (3072, 32767)))) == Georeference("", NORTH_UP)
    text = f"ESRI PE String = {WKT}|"
    own = (KEYS, "H", 12, [1, 1, 0, 2, 3072, 0, 1, 32767, 1026, TEXTS, len(text), 0], True)
    assert place_in(geotiff(file, *PLAIN, own, (TEXTS, "s", 0, text, True))) == Georeference(WKT, NORTH_UP)
    assert place_in(geotiff(file)) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_lies_where_its_pixels_are(orientation: int, tmp_path: Path) -> None:
    # Given one white pixel, in the second column of the first row as stored
    data = WIDE.copy()
    data[0, 1] = 255
    tags = [*PLAIN, (274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", data, metadata=None, extratags=tags)
    picture = open_picture(reader_of(tmp_path / "a.tif"), meter=Meter(lambda *_: None))
    # Then the middle of the white pixel of the upright image is in its place
    (row,), (column,) = np.nonzero(picture.image.numpy()[..., 0])
    assert picture.georeference is not None
    assert apply(picture.georeference.transform, column + 0.5, row + 0.5) == pytest.approx((500015, 5399995))


def test_a_smaller_version_lies_where_the_page_does(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(WIDE, metadata=None, extratags=[*PLAIN])
        file.write(WIDE[::2, ::2], metadata=None, subfiletype=1)
        file.write(WIDE, metadata=None)
    assert place_in(tmp_path / "a.tif", 1) == Georeference("", (20, 0, 500000, 0, -20, 5400000))
    assert place_in(tmp_path / "a.tif", 2) is None


def test_the_files_beside_an_image_count_in_gdals_order(tmp_path: Path) -> None:
    file = geotiff(tmp_path / "a.tif", *PLAIN)
    bare = geotiff(tmp_path / "b.tif")
    world = "2\r\n0\r\n0\r\n-2\r\n101\r\n199\r\n"
    aux = (
        '<PAMDataset><SRS dataAxisToSRSAxisMapping="2,1">EPSG:4326</SRS>'
        "<GeoTransform> 7, 3, 0, 8, 0, -3</GeoTransform><PAMRasterBand/></PAMDataset>"
    )
    # A world file names the middle of the first pixel
    assert place_in(bare, world=world, projection=WKT) == Georeference(WKT, (2, 0, 100, 0, -2, 200))
    assert place_in(file, world=world, projection=WKT) == Georeference(WKT, NORTH_UP)
    assert place_in(file, world=world, auxiliary=aux) == Georeference("EPSG:4326", (3, 0, 7, 0, -3, 8))
    assert place_in(bare, projection=WKT) is None
    # They are about the main picture alone
    with tifffile.TiffWriter(tmp_path / "two.tif") as pages:
        pages.write(WIDE, metadata=None)
        pages.write(WIDE, metadata=None)
    assert place_in(tmp_path / "two.tif", 1, world=world) is None
    points = "".join(
        f'<GCP Id="{at}" Pixel="{x}" Line="{y}" X="{x * 2}" Y="{y * -2}" Z="0"/>'
        for at, (x, y) in enumerate([(0, 0), (40, 0), (0, 20)])
    )
    found = auxiliary_file(f'<PAMDataset><GCPList Projection="EPSG:3857">{points}</GCPList></PAMDataset>')
    assert found == Georeference("EPSG:3857", (), ((0, 0, 0, 0), (40, 0, 80, 0), (0, 20, 0, -40)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<PAMDataset>",
        '<!DOCTYPE P [<!ENTITY a "1">]><PAMDataset><GeoTransform>&a;,1,1,1,1,1</GeoTransform></PAMDataset>',
        "<PAMDataset><GeoTransform>1,2,nan?,4,5,6</GeoTransform></PAMDataset>",
        "<PAMDataset><GCPList><GCP Pixel='1'/></GCPList></PAMDataset>",
        "<a>" * 100_000,
        "\ud800",
    ],
)
def test_a_broken_auxiliary_file_says_nothing(text: str) -> None:
    assert auxiliary_file(text) == Georeference("")


def test_names_and_texts_beside_an_image() -> None:
    assert names_beside("maps/Sheet.TIF") == {
        "world": ["maps/sheet.tfw", "maps/sheet.tifw", "maps/sheet.wld"],
        "projection": ["maps/sheet.prj"],
        "auxiliary": ["maps/sheet.tif.aux.xml", "maps/sheet.aux.xml"],
    }
    assert names_beside("a.b/sheet")["world"] == ["a.b/sheet.wld"]
    assert names_beside("scan.jpeg")["world"] == ["scan.jgw", "scan.jpegw", "scan.wld"]
    assert world_file("1\n2\n3") is None
    assert world_file("1 0 0 -1 inf 0") is None
    assert projection_file("EPSG:2056\n") == "EPSG:2056"
    assert projection_file(WKT.replace(",", ",\n  ")).startswith('PROJCS["x", GEOGCS[')
    for text in ("+proj=utm +zone=32", "/etc/passwd", "urn:x", f"A[{'x' * 9000}]"):
        assert projection_file(text) == ""


HOSTILE = [
    (doubles(SCALE, math.nan, 10, 0), PLAIN[1]),
    (doubles(SCALE, math.inf, 10, 0), PLAIN[1]),
    (doubles(SCALE, 0, 0, 0), PLAIN[1]),
    (doubles(SCALE, 10, 10, 0), doubles(TIES, 0, 0, 0, 1e300, 5400000, 0)),
    (doubles(SCALE, 10, 10, 0), doubles(TIES, math.nan, 0, 0, 1, 1, 0)),
    (doubles(SCALE, 10), PLAIN[1]),
    (doubles(MATRIX, *([1e-320] * 16)),),
    (doubles(MATRIX, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),),
    (doubles(TIES, *([5.0] * 6000)),),
    ((SCALE, "s", 0, "ten", True), PLAIN[1]),
    ((KEYS, "H", 5, [1, 1, 0, 60000, 3072], True), (SCALE, "d", 3, (0.0, 0.0, 0.0), True), PLAIN[1]),
]


@pytest.mark.parametrize("tags", HOSTILE)
def test_a_lying_georeference_costs_the_place_and_not_the_image(tags: Any, tmp_path: Path) -> None:
    assert place_in(geotiff(tmp_path / "a.tif", *tags)) is None


def test_values_behind_the_end_of_the_file_say_nothing(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", *PLAIN)
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags[TIES]
    whole = bytearray(path.read_bytes())
    whole[tag.offset + 8 : tag.offset + 12] = struct.pack("<I", 1 << 30)
    path.write_bytes(whole)
    assert place_in(path) is None


@for_any(st.binary(max_size=200), st.text(max_size=200))
def test_no_bytes_and_no_text_break_a_reader(data: bytes, text: str) -> None:
    world_file(text)
    projection_file(text)
    auxiliary_file(data.decode("utf-8", errors="replace"))
    auxiliary_file(f"<PAMDataset><GeoTransform>{text}</GeoTransform></PAMDataset>")


NUMBERS = st.floats(-1e6, 1e6)


@for_any(st.integers(1, 8), st.tuples(*[NUMBERS] * 6), st.integers(1, 500), st.integers(1, 500))
def test_turning_back_is_the_inverse(orientation: int, transform: tuple[float, ...], width: int, height: int) -> None:
    stored = stored_by_upright(orientation, width, height)
    points = Georeference("", (), ((1.0, 2.0, 5.0, 6.0),))
    ((x, y, *_),) = turned(points, stored).points
    assert apply(stored, x, y) == pytest.approx((1, 2))
    found = turned(Georeference("", transform), stored)
    assert apply(found.transform, x, y) == pytest.approx(apply(transform, 1, 2), rel=1e-6, abs=1e-3)


def test_wgs_84_by_formula_as_proj_has_it() -> None:
    found = Georeference("EPSG:3857", (30.0, 2.0, 900000.0, -1.0, -40.0, 6200000.0))
    located = located_by_formula(found, 3000, 2000)
    assert located is not None
    convert = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    for x, y, longitude, latitude in located.points:
        assert convert.transform(*apply(found.transform, x, y)) == pytest.approx((longitude, latitude), abs=1e-8)
    # And the ground's scale there, which differs from that of the map
    small = located_by_formula(Georeference("EPSG:3857", (30, 0, 900000, 0, -30, 6200000)), 300, 200)
    assert small is not None
    size = ground_size(small)
    assert size is not None
    ends = (*convert.transform(900000, 6200000), *convert.transform(900030, 6200000))
    _, _, distance = pyproj.Geod(ellps="WGS84").inv(*ends)
    assert size.x == pytest.approx(distance, rel=0.002)
    # Of a map of the world, no pixel size is true
    world = located_by_formula(Georeference("EPSG:4326", (0.1, 0, -180, 0, -0.1, 90)), 3600, 1800)
    assert world is not None
    assert world.bounds == pytest.approx((-180, -90, 180, 90))
    assert ground_size(world) is None


def test_bounds_across_the_antimeridian_and_off_the_earth() -> None:
    across = located_by_formula(Georeference("EPSG:4326", (0.1, 0, 175, 0, -0.1, 10)), 100, 50)
    assert across is not None
    assert across.bounds == pytest.approx((175, 5, -175, 10))
    assert located_by_formula(Georeference("EPSG:4326", (1, 0, 0, 0, -1, 100)), 40, 20) is None
    assert located_by_formula(Georeference("EPSG:4326", (100, 0, 0, 0, -1, 50)), 40, 20) is None
    assert located_by_formula(Georeference("EPSG:3857", (1, 0, 1e12, 0, -1, 1e12)), 40, 20) is None


def test_what_people_write() -> None:
    assert parse_text(" EPSG:3857 10 0 1e6 0 -10, 6000000 ") == Georeference("EPSG:3857", (10, 0, 1e6, 0, -10, 6e6))
    points = parse_text("0 0 9 48; 40,0,10,48;0 20 9 47")
    assert points == Georeference("EPSG:4326", (), ((0, 0, 9, 48), (40, 0, 10, 48), (0, 20, 9, 47)))
    for text in ("", "EPSG:3857", "EPSG:2056 1 0 0 0 -1 0", "0 0 9 48; 1 1 9 49", "0 0 9 98; 40 0 9 48; 0 20 8 47"):
        with pytest.raises(ValueError, match=r"."):
            parse_text(text)
    for transform in ((0, 0, 0, 0, 0, 0), (1, 1, 0, 1, 1, 0), (math.nan, 0, 0, 0, 1, 0), (1e13, 0, 0, 0, 1, 0)):
        with pytest.raises(ValueError, match="six finite"):
            given("EPSG:4326", transform, [])
    with pytest.raises(ValueError, match="one line"):
        given("", [], [(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)])
    many = tuple((float(at), float(at * at), float(at), float(at * at)) for at in range(5000))
    kept = sane(Georeference("", (), many))
    assert kept is not None
    assert len(kept.points) == MOST_POINTS
    assert fit(kept.points) == pytest.approx((1, 0, 0, 0, 1, 0), abs=1e-3)


WORLD = 2 * math.pi * 6378137


def on_grid(zoom: int, x: float, y: float, width: int = 1000, height: int = 600, **changed: float) -> Grid | None:
    pixel = WORLD / (256 << zoom)
    transform = [pixel, 0, x * 256 * pixel - WORLD / 2, 0, -pixel, WORLD / 2 - y * 256 * pixel]
    for at, factor in changed.items():
        transform[int(at[1:])] *= factor
    said = pb.Pyramid(georeference=pb.Georeference(crs="EPSG:3857", transform=transform, bounds=[0, 0, 1, 1]))
    return grid_of(said, Geometry(width, height, 256))


def test_an_image_is_on_the_grid_if_its_pixels_are_the_grids() -> None:
    assert on_grid(10, 100, 200) == Grid(10, 100, 200, 8)
    assert on_grid(10, 101, 200) == Grid(10, 101, 200, 10)
    assert on_grid(0, 0, 0, 256, 256) == Grid(0, 0, 0, 0)
    assert on_grid(12, 128, 256) == Grid(12, 128, 256, 10)
    assert [
        on_grid(10, 100.01, 200),
        on_grid(10, 100, 200, t0=1.001),
        on_grid(10, 100, 200, t4=-1),
        on_grid(10, -1, 200),
        on_grid(2, 3, 3),
        on_grid(40, 1, 1),
    ] == [None] * 6
    grid, geometry = Grid(10, 100, 200, 8), Geometry(1000, 600, 256)
    assert grid.own_place(geometry, 10, 103, 202) == (2, 3, 2)
    assert grid.own_place(geometry, 8, 25, 50) == (0, 0, 0)
    for zoom, x, y in ((7, 12, 25), (11, 200, 400), (10, 99, 200)):
        with pytest.raises(IndexError):
            grid.own_place(geometry, zoom, x, y)
