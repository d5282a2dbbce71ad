"""The grammar of IIIF image requests: what each form means, and that each refusal says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tiles.image_request import ImageRequest, Limits, largest, parse
from gateway.tiles.pyramid_app import Malformed
from pipeline.pyramids import Format, Geometry
from pipeline.regions import Region, most_tiles, plan

IMAGE = Geometry(6000, 4000)
LIMITS = Limits.of(4 << 20)


def parsed(path: str, version: str = "3", geometry: Geometry = IMAGE, limits: Limits = LIMITS) -> ImageRequest:
    region, size, rotation, file = path.split("/")
    return parse(version, region, size, rotation, file, geometry, limits)


@pytest.mark.parametrize(
    ("region", "wanted"),
    [
        ("full", (0, 0, 6000, 4000)),
        ("square", (1000, 0, 4000, 4000)),
        ("10,20,30,40", (10, 20, 30, 40)),
        ("5990,3990,100,100", (5990, 3990, 10, 10)),  # cropped at the edge
        ("pct:50,25,10,12.5", (3000, 1000, 600, 500)),
        ("pct:99,0,5,1", (5940, 0, 60, 40)),
    ],
)
def test_a_region_is_a_part_of_the_image(region: str, wanted: tuple[int, ...]) -> None:
    assert parsed(f"{region}/1,1/0/default.jpg").region[:4] == wanted


@pytest.mark.parametrize(
    ("version", "region", "size", "wanted"),
    [
        ("3", "0,0,600,400", "max", (600, 400)),
        ("3", "0,0,600,400", "300,", (300, 200)),
        ("3", "0,0,600,400", ",100", (150, 100)),
        ("3", "0,0,600,400", "300,300", (300, 300)),
        ("3", "0,0,600,400", "!300,300", (300, 200)),
        ("3", "0,0,600,400", "!900,300", (450, 300)),
        ("3", "0,0,600,400", "!900,900", (600, 400)),
        ("3", "0,0,600,400", "^!900,900", (900, 600)),
        ("3", "0,0,600,400", "pct:50", (300, 200)),
        ("3", "0,0,600,400", "^pct:200", (1200, 800)),
        ("3", "0,0,600,400", "^1200,", (1200, 800)),
        ("3", "0,0,600,400", "^max", (2508, 1672)),
        ("3", "full", "max", (2508, 1672)),
        ("3", "full", "!5000,5000", (2508, 1672)),
        ("2", "full", "full", (2508, 1672)),
        ("2", "full", "max", (2508, 1672)),
        ("2", "0,0,600,400", "full", (600, 400)),
        ("2", "0,0,600,400", "max", (600, 400)),
        ("2", "0,0,600,400", "1200,", (1200, 800)),
        ("2", "0,0,600,400", "!900,900", (900, 600)),
        ("3", "0,0,6000,1", "90,", (90, 1)),  # never without a pixel
    ],
)
def test_a_size_is_in_pixels(version: str, region: str, size: str, wanted: tuple[int, int]) -> None:
    assert parsed(f"{region}/{size}/0/default.jpg", version).region[4:] == wanted


def test_rotation_quality_and_format_are_read() -> None:
    asked = parsed("full/max/!270/gray.webp")
    assert (asked.mirrored, asked.turns, asked.quality, asked.format) == (True, 3, "gray", Format.WEBP)
    assert parsed("full/max/360.0/default.png").turns == 0
    assert parsed("full/max/0/native.jpg", "2").quality == "default"
    # What has the same result has the same name, and nothing else has
    same = {
        parsed(f"{path}/0/default.jpg").name
        for path in ("0,0,600,400/300,", "0,0,600,400/pct:50", "pct:0,0,10,10/!300,200")
    }
    assert len(same) == 1
    assert parsed("full/max/0/color.jpg").name == parsed("full/max/0/default.jpg").name
    others = ("full/max/90/default.jpg", "full/max/!0/default.jpg", "full/max/0/gray.jpg", "full/max/0/default.png")
    assert len({parsed(path).name for path in others} | {parsed("full/max/0/default.jpg").name}) == 5


@pytest.mark.parametrize(
    ("version", "path", "why"),
    [
        (
            "3",
            "all/max/0/default.jpg",
            "all is not a valid region in the IIIF Image API 3 (section 4). Use full, square",
        ),
        ("3", "1,2,3/max/0/default.jpg", "Use full, square, x,y,w,h or pct:x,y,w,h."),
        ("3", "-1,0,5,5/max/0/default.jpg", "not a valid region"),
        ("3", "1234567890,0,5,5/max/0/default.jpg", "not a valid region"),
        ("3", "\u0661,0,5,5/max/0/default.jpg", "not a valid region"),
        ("3", "0,0,0,5/max/0/default.jpg", "The region 0,0,0,5 is empty, or outside the image of 6000 x 4000 pixels."),
        ("3", "6000,0,5,5/max/0/default.jpg", "is empty, or outside the image"),
        ("3", "pct:100,0,5,5/max/0/default.jpg", "is empty, or outside the image"),
        ("3", "pct:0,0,0.001,5/max/0/default.jpg", "is empty, or outside the image"),
        ("3", "full/full/0/default.jpg", "full is not a valid size in the IIIF Image API 3"),
        ("2", "full/^max/0/default.jpg", "^max is not a valid size in the IIIF Image API 2"),
        ("3", "full/0,/0/default.jpg", "The size 0, is empty."),
        ("3", "full/,0/0/default.jpg", "The size ,0 is empty."),
        ("3", "full/pct:0/0/default.jpg", "The size pct:0 is empty."),
        ("3", "full/!0,5/0/default.jpg", "The size !0,5 is empty."),
        ("3", "0,0,60,40/61,/0/default.jpg", "larger than the region of 60 x 40 pixels. Put ^ in front to enlarge it."),
        ("3", "0,0,60,40/60,41/0/default.jpg", "Put ^ in front"),
        ("3", "0,0,60,40/pct:101/0/default.jpg", "Put ^ in front"),
        (
            "3",
            "full/6000,4000/0/default.jpg",
            "6000 x 4000 pixels. At most 8192 pixels for each edge (maxWidth) and 4194304 pixels in all (maxArea)",
        ),
        ("3", "full/^9000,1/0/default.jpg", "(maxWidth)"),
        ("2", "full/9000,1/0/default.jpg", "(maxWidth)"),
        ("3", "full/max/north/default.jpg", "north is not a valid rotation"),
        ("3", "full/max/45/default.jpg", "The rotation 45 is not available. Use 0, 90, 180 or 270"),
        ("3", "full/max/361/default.jpg", "above 360"),
        ("3", "full/max/0/native.jpg", "Use default, color, gray, bitonal, with .jpg, .png or .webp."),
        ("3", "full/max/0/default", "not a valid quality and format"),
        ("3", "full/max/0/default.tif", "The format tif is not available. Use one of jpg, png, webp."),
    ],
)
def test_what_is_refused_is_told_why(version: str, path: str, why: str) -> None:
    with pytest.raises(Malformed) as error:
        parsed(path, version)
    assert why in str(error.value)


EDGES = st.one_of(st.integers(1, 300_000), st.integers(0, 18).map(lambda power: 2**power))


@given(EDGES, EDGES, st.booleans(), st.integers(1 << 20, 1 << 26))
def test_the_largest_size_is_within_the_limits_and_has_the_proportions(
    width: int, height: int, may_grow: bool, area: int
) -> None:
    limits = Limits.of(area)
    wide, high = largest(width, height, limits, may_grow=may_grow)
    assert 1 <= wide <= limits.edge
    assert 1 <= high <= limits.edge
    assert wide * high <= area
    if not may_grow:
        assert (wide, high) <= (width, height)
    if min(wide, high) > 100:
        assert abs(wide / high / (width / height) - 1) < 0.02


@given(EDGES, EDGES, st.sampled_from([256, 512]), st.data())
def test_no_region_takes_more_tiles_than_stated(width: int, height: int, tile: int, data: st.DataObject) -> None:
    geometry = Geometry(width, height, tile)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    area = data.draw(st.integers(1 << 20, 1 << 24))
    limits = Limits.of(area)
    to_width = data.draw(st.integers(1, limits.edge))
    to_height = data.draw(st.integers(1, min(limits.edge, area // to_width)))
    most = most_tiles(area, tile)
    found = plan(geometry, Region(x, y, w, h, to_width, to_height), most)
    # All tiles exist, and they show all of the region
    assert found.columns * found.rows <= most or found.level == 0
    geometry.deep_zoom_position(found.level, found.column, found.row)
    geometry.deep_zoom_position(found.level, found.column + found.columns - 1, found.row + found.rows - 1)
    scale = 1 << (geometry.max_level - found.level)
    assert (found.column * tile + found.left) * scale == x
    assert (found.row * tile + found.top) * scale == y
    assert 0 <= found.left < tile
    assert found.right > found.left
    assert found.right - found.left >= w / scale
    # Undistorted, the level has the result's pixels and less than twice as many along an edge
    if (to_width, to_height) == largest(w, h, Limits(area, limits.edge)) and min(to_width, to_height) > 1:
        assert -(-w // scale) >= to_width
        assert w < 2 * scale * to_width or h < 2 * scale * to_height or found.level == 0


def test_an_everyday_region_takes_few_tiles() -> None:
    for size, most in ((300, 16), (1000, 81)):
        for x in range(0, 5000, 97):
            found = plan(IMAGE, Region(x, 500, 1000, 1000, min(size, 1000), min(size, 1000)), most_tiles(4 << 20, 256))
            assert found.columns * found.rows <= most
    assert most_tiles(4 << 20, 256) == 396
