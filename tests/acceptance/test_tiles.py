"""Tiles over HTTP: Deep Zoom and XYZ from one stored pyramid."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import requests

from tests.acceptance.jobs import ready, submit
from tests.support.images.pictures import decode, save
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack


@pytest.fixture(scope="module")
def tiles(stack: LaunchedStack, sources: SourceServer) -> str:
    """The base URL of map.jpg's tiles: 1,500 x 1,100 pixels, so levels 0 to 11 and zooms 0 to 3."""
    client = Client(stack.url)
    tile_id = ready(client, submit(client, sources.url("/map.jpg")))["tile_id"]
    client.close()
    return f"{stack.url}/tiles/{tile_id}"


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=60)


def shape(response: requests.Response) -> tuple[int, ...]:
    assert response.status_code == 200
    return decode(response.content).shape


def test_the_deep_zoom_descriptor_says_what_the_picture_is(tiles: str) -> None:
    answer = get(f"{tiles}.dzi")
    image = ET.fromstring(answer.content)  # noqa: S314  our own server's answer
    namespace = "{http://schemas.microsoft.com/deepzoom/2008}"
    assert image.tag == f"{namespace}Image"
    assert image.attrib == {"Format": "jpg", "Overlap": "0", "TileSize": "256"}
    size = image.find(f"{namespace}Size")
    assert size is not None
    assert size.attrib == {"Width": "1500", "Height": "1100"}


@pytest.mark.parametrize(
    ("address", "size"),
    [
        ("0/0_0", (1, 1, 3)),
        ("8/0_0", (138, 188, 3)),  # 1,500 x 1,100 halved three times, rounded up
        ("9/1_1", (19, 119, 3)),  # 375 x 275 has a second column of 119 and a second row of 19
        ("11/0_0", (256, 256, 3)),
        ("11/5_4", (76, 220, 3)),
    ],
)
def test_deep_zoom_tiles_have_the_sizes_of_the_specification(tiles: str, address: str, size: tuple[int, ...]) -> None:
    answer = get(f"{tiles}_files/{address}.jpg")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert shape(answer) == size


@pytest.mark.parametrize("address", ["0/0/0", "1/0/0", "3/0/0", "3/5/4", "3/5/0", "3/0/4"])
def test_xyz_tiles_are_always_full(tiles: str, address: str) -> None:
    assert shape(get(f"{tiles}/{address}.jpg")) == (256, 256, 3)


def test_inner_tiles_are_the_same_bytes_by_both_addresses(tiles: str) -> None:
    assert get(f"{tiles}/3/2/1.jpg").content == get(f"{tiles}_files/11/2_1.jpg").content


def test_deep_zoom_tiles_decode_to_what_dzsave_makes(tiles: str, picture_folder: Path, tmp_path: Path) -> None:
    # Given the pyramid that libvips makes of the same file
    image = pyvips.Image.new_from_file(str(picture_folder / "map.jpg"), access="sequential")
    image.dzsave(str(tmp_path / "map"), tile_size=256, overlap=0, suffix=".jpg[Q=85]")

    # When every tile is compared with the one served, then no pixel differs
    for path in sorted((tmp_path / "map_files").glob("*/*.jpg")):
        served = decode(get(f"{tiles}_files/{path.parent.name}/{path.name}").content)
        np.testing.assert_array_equal(served, decode(path.read_bytes()), err_msg=f"{path.parent.name}/{path.name}")


def test_xyz_edge_tiles_are_padded_with_white(tiles: str) -> None:
    # Given the last tile of the highest zoom, of which 220 x 76 pixels are picture
    edge = decode(get(f"{tiles}/3/5/4.jpg").content).astype(int)
    inside = decode(get(f"{tiles}_files/11/5_4.jpg").content).astype(int)

    # Then the padding is white but for what JPEG bleeds over within a block, and the picture is the level's own
    assert edge[88:, :, :].min() >= 250
    assert edge[:, 232:, :].min() >= 250
    assert np.abs(edge[:76, :220] - inside).mean() < 3


def test_the_tilejson_beside_the_tiles_tells_zooms_and_addresses(tiles: str) -> None:
    document: dict[str, Any] = get(f"{tiles}/tilejson.json").json()
    assert document["tilejson"] == "3.0.0"
    assert (document["minzoom"], document["maxzoom"]) == (0, 3)
    assert all("{z}/{x}/{y}.jpg" in url for url in document["tiles"])


def test_the_thumbnail_is_a_small_picture_of_the_whole(tiles: str) -> None:
    height, width, bands = shape(get(f"{tiles}/thumbnail.jpg"))
    assert bands == 3
    assert math.isclose(width / height, 1500 / 1100, rel_tol=0.02)


@pytest.mark.parametrize(
    "address",
    ["_files/12/0_0.jpg", "_files/11/6_0.jpg", "_files/11/0_5.jpg", "_files/11/0_0.png", "/4/0/0.jpg", "/3/6/0.jpg"],
)
def test_what_lies_outside_is_a_404(tiles: str, address: str) -> None:
    answer = get(tiles + address)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_pyramid_that_is_not_there_is_a_404(stack: LaunchedStack) -> None:
    assert get(f"{stack.url}/tiles/{'0' * 64}.dzi").status_code == 404


@pytest.mark.parametrize("address", ["/tiles/{}/tilejson.json", "/iiif/{}/info.json", "/iiif/{}"])
def test_what_names_the_host_it_was_asked_by_is_kept_by_no_cache(
    stack: LaunchedStack, tiles: str, address: str
) -> None:
    # Given another name of the gateway, which a cache in front may not tell from the first
    port = stack.url.rpartition(":")[2]
    url = stack.url + address.format(tiles.rpartition("/")[2])
    # When it is asked by each
    answers = [
        requests.get(url, headers={"Host": f"{name}:{port}"}, allow_redirects=False, timeout=60)
        for name in ("localhost", "tiles.localhost")
    ]
    # Then each answer names the one, and is not to be given to the other
    for name, answer in zip(("localhost", "tiles.localhost"), answers, strict=True):
        assert f"//{name}:{port}" in answer.text + answer.headers.get("Location", "")
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_tile_in_memory_is_for_the_gateways_own_names_too(tiles: str) -> None:
    # Given a tile that is answered from memory
    for _ in range(3):
        assert get(f"{tiles}_files/11/0_0.jpg").status_code == 200
    # When it is asked for by the name of another site, then it is refused as all else is
    assert get(f"{tiles}_files/11/0_0.jpg", Host="evil.example").status_code == 421
    assert get(f"{tiles}_files/11/0_0.jpg").status_code == 200


def test_tiles_may_be_kept_for_ever_and_read_from_any_page(tiles: str) -> None:
    answer = get(f"{tiles}_files/11/0_0.jpg")
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert get(answer.url, **{"If-None-Match": answer.headers["ETag"]}).status_code == 304
    head = requests.head(answer.url, timeout=60)
    assert head.status_code == 200
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert head.content == b""


def test_transparency_is_kept_in_png_tiles(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    tile_info = ready(client, submit(client, sources.url("/glass.png")))
    assert tile_info["format"] == "png"
    answer = get(f"{stack.url}/tiles/{tile_info['tile_id']}_files/10/0_0.png")
    assert answer.headers["Content-Type"] == "image/png"
    assert shape(answer) == (256, 256, 4)


@pytest.mark.parametrize("tile_format", ["png", "webp"])
def test_a_picture_that_is_transparent_in_part_is_shown(
    tile_format: str, client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given a picture of several tiles: libwebp writes no transparency into those that are opaque all over
    pixels = np.full((600, 900, 4), (200, 40, 40, 255), dtype=np.uint8)
    pixels[:, 600:, 3] = 0
    save(pixels, tmp_path / "partly.png")
    # When tiles with transparency are made
    dataset_id = client.submit(files.url("/partly.png"), "Partly", format=tile_format)["dataset_id"]
    tile_id = ready(client, dataset_id)["tile_id"]
    # Then its thumbnail shows the colour on the left, and white on the right
    thumbnail = decode(get(f"{client.server}/tiles/{tile_id}/thumbnail.jpg").content).astype(int)
    assert np.abs(thumbnail[100, 100] - (200, 40, 40)).max() < 12
    assert thumbnail[100, -50:].min() > 250
