"""IIIF Image API 3.0: the tiles and sizes that info.json lists are there, from the stored bytes.

Regions that are made on request have a file of their own, test_regions.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tiles.iiif import Iiif, info
from gateway.tiles.image_request import Limits
from pipeline.pyramids.geometry import Format, Geometry
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.tile_rig import TILE_ID, Answer, Kiln, RemoteStorage, Site

WIDTH, HEIGHT = 1500, 700
ADDRESS = f"http://tiles.example.org/iiif/{TILE_ID}"
BASE = f"/iiif/{TILE_ID}"


@pytest.fixture
def empty(tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    yield site
    site.close()


@pytest.fixture
def site(empty: Site) -> Site:
    """With one pyramid of a JPEG of 1,500 x 700: levels 0 to 11, of which 10 (750 x 350) is the largest of 1,024."""
    empty.store(pictures.jpeg(empty.folder / "source.jpg", WIDTH, HEIGHT))
    return empty


def get(site: Site, path: str, method: str = "GET", **headers: str) -> Answer:
    return site.get(BASE + path, method, app=site.iiif, **headers)


def info_of(site: Site) -> dict[str, Any]:
    answer = get(site, "/info.json")
    assert answer.status == 200
    return dict(json.loads(answer.body))


def regions(document: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Every tile's scale factor and address, by the formulas of the specification's implementation notes (5.4)."""
    width, height = document["width"], document["height"]
    (tiles,) = document["tiles"]
    for scale in tiles["scaleFactors"]:
        step = tiles["width"] * scale
        for x in range(0, width, step):
            for y in range(0, height, step):
                w, h = min(step, width - x), min(step, height - y)
                yield scale, f"/{x},{y},{w},{h}/{-(-w // scale)},{-(-h // scale)}/0/default"


def test_info_json_says_what_there_is(site: Site) -> None:
    assert info_of(site) == {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": ADDRESS,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level2",
        "width": 1500,
        "height": 700,
        "maxWidth": 8192,
        "maxArea": 4 << 20,
        "sizes": [
            {"width": 1, "height": 1},
            {"width": 2, "height": 1},
            {"width": 3, "height": 2},
            {"width": 6, "height": 3},
            {"width": 12, "height": 6},
            {"width": 24, "height": 11},
            {"width": 47, "height": 22},
            {"width": 94, "height": 44},
            {"width": 188, "height": 88},
            {"width": 750, "height": 350},
        ],
        "tiles": [{"width": 256, "height": 256, "scaleFactors": [1, 2, 4, 8]}],
        "extraFormats": ["webp"],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": [
            "baseUriRedirect",
            "cors",
            "jsonldMediaType",
            "mirroring",
            "profileLinkHeader",
            "sizeUpscaling",
        ],
    }


@pytest.mark.parametrize("kind", [DirectoryStorage, RemoteStorage])
def test_every_tile_that_info_json_promises_is_the_stored_deep_zoom_tile(
    kind: type[DirectoryStorage], tmp_path: Path, kiln: Kiln
) -> None:
    # Given a pyramid, in a directory or in a bucket
    site = Site(kind(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", WIDTH, HEIGHT))
    document = info_of(site)
    stored = pictures.deep_zoom(site.stored("pyramid.szi"))
    # When each region of each scale is asked for at its size
    seen = set()
    for scale, address in regions(document):
        answer = get(site, f"{address}.jpg")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg"), address
        x, y, *_ = (int(part) for part in address.split("/")[1].split(","))
        level = 11 - (scale.bit_length() - 1)
        place = level, x // (256 * scale), y // (256 * scale)
        # Then it is the very tile, and all tiles of these levels are among them
        assert answer.body == stored[place]
        seen.add(place)
    assert seen == {place for place in stored if place[0] >= 8}
    site.close()


def test_every_size_that_info_json_promises_is_there_in_that_size(site: Site) -> None:
    for size in info_of(site)["sizes"]:
        answer = get(site, f"/full/{size['width']},{size['height']}/0/default.jpg")
        assert answer.status == 200
        assert pictures.decode(answer.body).shape == (size["height"], size["width"], 3)


def test_the_largest_level_of_a_screenful_is_stored_as_one_jpeg(site: Site) -> None:
    answer = get(site, "/full/750,350/0/default.jpg")
    whole = pictures.decode(answer.body).astype(int)
    assert whole.shape == (350, 750, 3)
    # It is joined from the level's tiles, which are compressed already
    level = np.zeros_like(whole)
    for (number, x, y), data in pictures.deep_zoom(site.stored("pyramid.szi")).items():
        if number == 10:
            tile = pictures.decode(data)
            level[y * 256 : y * 256 + tile.shape[0], x * 256 : x * 256 + tile.shape[1]] = tile
    assert np.abs(whole - level).mean() < 4
    # It is the same however it is asked for, and no process was started to make it
    for same in (
        "full/pct:50/0/color.jpg",
        "0,0,1500,700/750,350/0/default.jpg",
        "pct:0,0,100,100/!750,750/0/default.jpg",
    ):
        assert get(site, f"/{same}").body == answer.body
    assert site.regions.pool.stats.started == 0


def test_transparent_tiles_are_png_and_the_whole_is_jpeg_on_white(empty: Site) -> None:
    # Given a picture whose left half is clear
    pixels = pictures.scene(600, 300, bands=4)
    pixels[:, :300, 3] = 0
    pixels[:, 300:, 3] = 255
    empty.store(pictures.save(pixels, empty.folder / "source.png"))
    document = info_of(empty)
    # Then viewers hear which format to ask for
    assert document["preferredFormats"] == ["png"]
    # And tiles and sizes are there in it
    for _, address in regions(document):
        assert get(empty, f"{address}.png").headers["content-type"] == "image/png"
    for size in document["sizes"]:
        assert get(empty, f"/full/{size['width']},{size['height']}/0/default.png").status == 200
    # And the whole as JPEG is on white
    whole = pictures.decode(get(empty, "/full/max/0/default.jpg").body)
    assert whole.shape == (300, 600, 3)
    assert whole[:, :290].min() >= 250
    assert empty.regions.pool.stats.started == 0


def test_a_small_transparent_picture_is_there_in_full_as_png(empty: Site) -> None:
    empty.store(pictures.save(pictures.scene(200, 100, bands=4), empty.folder / "source.png"))
    assert pictures.decode(get(empty, "/full/max/0/default.png").body).shape == (100, 200, 4)
    assert pictures.decode(get(empty, "/full/max/0/default.jpg").body).shape == (100, 200, 3)


@pytest.mark.parametrize(
    "path",
    [
        "/full/full/0/default.jpg",  # version 2's
        "/full/nonsense/0/default.jpg",
        "/all/max/0/default.jpg",
        "/1,2,3/max/0/default.jpg",
        "/-1,0,256,256/256,256/0/default.jpg",
        "/pct:1,2,3/max/0/default.jpg",
        "/full/max/north/default.jpg",
        "/full/max/0/native.jpg",
        "/full/max/0/default.bmp",
        "/full/max/0/default",
        "/full/\u0661,1/0/default.jpg",
        "/0,0,0,256/256,256/0/default.jpg",  # without a pixel
        "/1500,0,256,256/256,256/0/default.jpg",  # beside the picture
    ],
)
def test_what_is_no_iiif_request_is_a_400_that_says_why(site: Site, path: str) -> None:
    answer = get(site, path)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert json.loads(answer.body)["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/", "/info.xml", "/full/max/0", "/full/max/0/default.jpg/more"])
def test_what_is_no_address_is_not_found(site: Site, path: str) -> None:
    answer = get(site, path)
    assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")


def test_the_pictures_own_address_leads_to_info_json(site: Site) -> None:
    answer = get(site, "")
    assert (answer.status, answer.headers["location"]) == (303, f"{ADDRESS}/info.json")
    assert answer.headers["access-control-allow-origin"] == "*"
    # But not where there is no such picture
    assert site.get(f"/iiif/{'f' * 64}", app=site.iiif).status == 404
    assert site.get("/iiif/x", app=site.iiif).status == 404


def test_info_json_is_json_ld_for_those_who_ask(site: Site) -> None:
    plain = get(site, "/info.json", accept="*/*")
    linked = get(site, "/info.json", accept="application/ld+json, */*;q=0.1")
    assert plain.headers["content-type"] == "application/json"
    context = "http://iiif.io/api/image/3/context.json"
    assert linked.headers["content-type"] == f'application/ld+json;profile="{context}"'
    assert plain.body == linked.body
    assert plain.headers["etag"] != linked.headers["etag"]
    assert plain.headers["vary"] == "Accept"


def test_a_public_url_stands_in_info_json(site: Site) -> None:
    app = Iiif(site.pyramids, site.regions, public_url="https://cdn.example.org/maps/")
    document = json.loads(site.get(f"{BASE}/info.json", app=app).body)
    assert document["id"] == f"https://cdn.example.org/maps{BASE}"


@pytest.mark.parametrize(
    "path",
    ["/full/750,350/0/default.jpg", "/full/400,/90/gray.png", "/0,0,256,256/256,256/0/default.jpg", "/info.json"],
)
def test_answers_name_their_profile_and_can_be_asked_for_again(site: Site, path: str) -> None:
    answer = get(site, path)
    assert answer.headers["link"] == '<http://iiif.io/api/image/3/level2.json>;rel="profile"'
    assert ("immutable" in answer.headers["cache-control"]) == ("default" in path or "gray" in path)
    assert get(site, path, if_none_match=answer.headers["etag"])[::2] == (304, b"")
    assert get(site, path, "HEAD") == (200, answer.headers, b"")


EDGES = st.one_of(st.integers(1, 70_000), st.integers(0, 16).map(lambda power: 2**power))


@given(EDGES, EDGES, st.sampled_from([256, 512]), st.sampled_from(Format))
def test_info_json_promises_no_tile_and_no_size_above_its_limits(
    width: int, height: int, tile: int, kind: Format
) -> None:
    # Given the least limits that an operator may set
    document = info(Geometry(width, height, tile), kind, "http://x/iiif/y", Limits.of(1 << 20))
    assert tile <= document["maxWidth"]
    assert tile * tile <= document["maxArea"]
    for size in document["sizes"]:
        assert max(size["width"], size["height"]) <= document["maxWidth"]
        assert size["width"] * size["height"] <= document["maxArea"]
    assert document["tiles"][0]["scaleFactors"][-1] * tile >= max(width, height)


def test_the_documentation_shows_what_is_answered() -> None:
    # Given the info.json on the page
    page = (Path(__file__).parents[3] / "docs/api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (shown,) = (json.loads(block) for block in blocks if "@context" in block)
    # Then it is that of its picture
    assert shown == info(Geometry(10_800, 5_400), Format.JPEG, shown["id"], Limits.of(4 << 20))
