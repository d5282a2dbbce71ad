"""Where images lie on Earth, from the file or its client to every description, and what hostile files make of it."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import requests
import tifffile

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import finish, ready
from tests.support.images.pictures import scene
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

SCALE, TIES, KEYS, TEXTS = 33550, 33922, 34735, 34737
WORLD = 2 * math.pi * 6378137


def keys(projected: int) -> tuple[int, str, int, list[int], bool]:
    return KEYS, "H", 16, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, projected], True


def doubles(tag: int, *values: float) -> tuple[int, str, int, tuple[float, ...], bool]:
    return tag, "d", len(values), values, True


def geotiff(path: Path, width: int, height: int, *tags: Any) -> None:
    tifffile.imwrite(path, scene(width, height), metadata=None, extratags=list(tags))


def test_places_are_in_every_description_of_an_image(
    stack: LaunchedStack, client: Client, files: SourceServer, command: Command, tmp_path: Path
) -> None:
    def get(path: str) -> Any:
        answer = requests.get(f"{stack.url}{path}" if path.startswith("/") else path, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # Given a GeoTIFF in UTM, one on the world's tile grid, and a scan with a world file and a .prj in an archive
    utm = (doubles(SCALE, 10, 10, 0), doubles(TIES, 0, 0, 0, 500000, 5400000, 0), keys(32632))
    geotiff(tmp_path / "utm.tif", 600, 400, *utm)
    pixel = WORLD / (256 << 10)
    corner = (540 * 256 * pixel - WORLD / 2, WORLD / 2 - 356 * 256 * pixel)
    web = (doubles(SCALE, pixel, pixel, 0), doubles(TIES, 0, 0, 0, *corner, 0), keys(3857))
    geotiff(tmp_path / "web.tif", 700, 300, *web)
    geotiff(tmp_path / "sheet.tif", 500, 300)
    swiss = pyproj.CRS.from_epsg(2056).to_wkt("WKT1_ESRI")
    with zipfile.ZipFile(tmp_path / "sheet.zip", "w") as archive:
        archive.write(tmp_path / "sheet.tif", "maps/Sheet.tif")
        archive.writestr("maps/Sheet.TFW", "2\n0\n0\n-2\n2600001\n1199999\n")
        archive.writestr("maps/Sheet.prj", swiss)
    names = ("utm.tif", "web.tif", "sheet.zip")
    ids = {name: client.submit(files.url(f"/{name}"), name)["dataset_id"] for name in names}
    try:
        for dataset_id in ids.values():
            ready(client, dataset_id)

        # Then each has its transform, and its place as PROJ has it
        expected: dict[str, tuple[str, list[float], int, tuple[int, int]]] = {
            "utm.tif": ("EPSG:32632", [10, 0, 500000, 0, -10, 5400000], 32632, (600, 400)),
            "web.tif": ("EPSG:3857", [pixel, 0, corner[0], 0, -pixel, corner[1]], 3857, (700, 300)),
            "sheet.zip": (" ".join(swiss.split()), [2, 0, 2600000, 0, -2, 1200000], 2056, (500, 300)),
        }
        for name, (crs, transform, epsg, (width, height)) in expected.items():
            place = client.get(ids[name])["georeference"]
            assert place["crs"] == crs
            assert place["transform"] == pytest.approx(transform)
            convert = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
            a, _, c, _, e, f = transform
            for point in place["control_points"]:
                wanted = convert.transform(a * point["x"] + c, e * point["y"] + f)
                assert (point["longitude"], point["latitude"]) == pytest.approx(wanted, abs=1e-7)
            corners = {(point["x"], point["y"]) for point in place["control_points"]}
            assert {(0, 0), (width, 0), (0, height), (width, height)} <= corners
            bounds = convert.transform_bounds(c, f + e * height, c + a * width, f)
            assert place["bounds"] == pytest.approx(bounds, abs=1e-5)
            # And a true scale on the ground, where it is the same all over
            size = client.get(ids[name])["pixel_size"]
            shrunk = pixel * math.cos(math.radians(place["bounds"][3]))
            assert size["x"] == pytest.approx({"utm.tif": 10, "web.tif": shrunk, "sheet.zip": 2}[name], rel=0.01)
            assert (size["unit"], size["x"]) == ("m", pytest.approx(size["y"], rel=0.01))

        # And its manifest leads to an annotation by which viewers warp it
        urls = client.get(ids["utm.tif"])["urls"]
        canvas = get(urls["manifest"])["items"][0]
        [link] = canvas["annotations"]
        assert link["id"] == f"{stack.url}{urls['georeference']}"
        page = get(link["id"])
        assert (page["id"], page["type"]) == (link["id"], "AnnotationPage")
        [annotation] = page["items"]
        assert annotation["motivation"] == "georeferencing"
        source = annotation["target"]["source"]
        assert (source["width"], source["height"], source["partOf"][0]["id"]) == (600, 400, canvas["id"])
        assert get(f"{source['id']}/info.json")["type"] == source["type"]
        first = annotation["body"]["features"][0]
        assert first["properties"]["resourceCoords"] == [0, 0]
        assert first["geometry"]["coordinates"] == pytest.approx([9, 48.753013], abs=1e-5)

        # And what lies on the grid is served by the grid's numbers, with true bounds
        web_id = ids["web.tif"]
        described = get(client.get(web_id)["urls"]["tilejson"])
        assert described["bounds"] == client.get(web_id)["georeference"]["bounds"]
        assert (described["minzoom"], described["maxzoom"]) == (8, 10)
        assert described["center"][2] == 8
        [template] = described["tiles"]
        for zoom, x, y, own in ((10, 542, 357, "2/2/1"), (9, 270, 178, "1/0/0"), (8, 135, 89, "0/0/0")):
            tile = requests.get(template.format(z=zoom, x=x, y=y), timeout=60)
            assert tile.status_code == 200
            assert tile.content == requests.get(f"{stack.url}/tiles/{web_id}/{own}", timeout=60).content
        for zoom, x, y in ((10, 539, 356), (10, 543, 356), (7, 67, 44), (11, 1080, 712)):
            assert requests.get(template.format(z=zoom, x=x, y=y), timeout=60).status_code == 404
        tile_id = client.get(web_id)["tile_info"]["tile_id"]
        [template] = get(f"/tiles/{tile_id}/tilejson.json")["tiles"]
        assert requests.get(template.format(z=10, x=540, y=356), timeout=60).status_code == 200
        assert get(client.get(ids["utm.tif"])["urls"]["tilejson"])["bounds"][0] == -180
        assert requests.get(f"{stack.url}/tiles/{ids['utm.tif']}/mercator/0/0/0", timeout=60).status_code == 404

        # When the client knows better, then its word counts, and null brings the file's back
        points = [[0, 0, 8, 47], [600, 0, 9, 47], [0, 400, 8, 46]]
        named = [dict(zip(("x", "y", "longitude", "latitude"), point, strict=True)) for point in points]
        changed = requests.patch(
            f"{stack.url}/api/datasets/{ids['utm.tif']}", json={"georeference": {"control_points": named}}, timeout=60
        ).json()["georeference"]
        assert (changed["crs"], changed["transform"], changed["control_points"]) == ("EPSG:4326", None, named)
        assert changed["bounds"] == pytest.approx([8, 46, 9, 47])
        until(lambda: len(get(link["id"])["items"][0]["body"]["features"]) == 3, "the new points")
        back = requests.patch(f"{stack.url}/api/datasets/{ids['utm.tif']}", json={"georeference": None}, timeout=60)
        assert back.json()["georeference"]["crs"] == "EPSG:32632"
        other = {"crs": "EPSG:2056", "transform": [1, 0, 0, 0, -1, 0]}
        for wrong in (other, {"control_points": named[:2]}, {"control_points": named * 50}, "x", 7, {}):
            refused = requests.patch(
                f"{stack.url}/api/datasets/{ids['utm.tif']}", json={"georeference": wrong}, timeout=60
            )
            assert refused.status_code == 422, (wrong, refused.text)
        text = "EPSG:4326 0.01 0 7 0 -0.01 48"
        submitted = command("submit", files.url("/sheet.tif"), "--name", "Told", "--georeference", text, "--quiet")
        told = ids["told"] = submitted.out.strip()
        ready(client, told)
        assert client.get(told)["georeference"]["bounds"] == pytest.approx([7, 45, 12, 48])
        [stored] = stack.data.glob(f"storage/pyramids/{tile_id}/*/pyramid.json")
        assert json.loads(stored.read_text())["georeference"]["crs"] == "EPSG:3857"
    finally:
        for dataset_id in ids.values():
            client.delete(dataset_id)


def test_a_lying_place_fails_nothing(client: Client, files: SourceServer, tmp_path: Path) -> None:
    scale, tie = doubles(SCALE, 10, 10, 0), doubles(TIES, 0, 0, 0, 500000, 5400000, 0)
    evil = 'ESRI PE String = PROJCS["x",GEOGCS["y"],EXTENSION["PROJ4","+proj=utm +zone=32 +nadgrids=/etc/passwd"]]|'
    own = (KEYS, "H", 12, [1, 1, 0, 2, 3072, 0, 1, 32767, 1026, TEXTS, len(evil), 0], True)
    cases: dict[str, tuple[list[Any], bool | None]] = {
        "nan.tif": ([doubles(SCALE, math.nan, 10, 0), tie], None),
        "inf.tif": ([scale, doubles(TIES, 0, 0, 0, math.inf, 0, 0)], None),
        "flat.tif": ([doubles(SCALE, 0, 0, 0), tie], None),
        "nowhere.tif": ([scale, doubles(TIES, 0, 0, 0, 9e11, 9e11, 0), keys(32632)], False),
        "unknown.tif": ([scale, tie, keys(20000)], False),
        "files.tif": ([scale, tie, own, (TEXTS, "s", 0, evil, True)], False),
    }
    for name, (tags, _) in cases.items():
        tifffile.imwrite(tmp_path / name, np.zeros((30, 50), np.uint8), metadata=None, extratags=tags)
    ids = {name: client.submit(files.url(f"/{name}"), name)["dataset_id"] for name in cases}
    for name, (_, located) in cases.items():
        assert finish(client, ids[name])["status"] == "ready", name
        dataset = client.get(ids[name])
        place = dataset["georeference"]
        if located is None:
            assert place is None, name
        else:
            assert (place["bounds"], place["control_points"]) == (None, []), name
        assert "georeference" not in dataset["urls"]
        client.delete(ids[name])
