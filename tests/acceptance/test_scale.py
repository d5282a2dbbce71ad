"""How large a pixel is, from the POST to every description of the image: as the file says it, or its client."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
import tifffile

from tests.acceptance.conftest import Command
from tests.acceptance.jobs import ready
from tests.support.images.pictures import scene
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

MICRO = {"x": 0.25, "y": 0.25, "unit": "µm"}


def physical(service: dict[str, Any]) -> tuple[float, str]:
    assert service["@context"] == "http://iiif.io/api/annex/services/physdim/1/context.json"
    assert service["profile"] == "http://iiif.io/api/annex/services/physdim"
    return service["physicalScale"], service["physicalUnits"]


def test_a_pixels_size_is_in_every_description_and_the_clients_word_counts(
    stack: LaunchedStack, client: Client, files: SourceServer, command: Command, tmp_path: Path
) -> None:
    def get(path: str) -> Any:
        answer = requests.get(f"{stack.url}{path}", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # Given a scan at 500 dots per inch that lies on its side, twice: once its client knows better
    picture = scene(300, 200)
    tifffile.imwrite(
        tmp_path / "scan.tif",
        picture,
        metadata=None,
        resolution=(500, 250),
        resolutionunit="inch",
        extratags=[(274, 3, 1, 6, True)],
    )
    tifffile.imwrite(
        tmp_path / "cells.ome.tif",
        picture[..., 0],
        metadata={"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25},
    )
    scan = client.submit(files.url("/scan.tif"), "Scan")["dataset_id"]
    cells = client.submit(files.url("/cells.ome.tif"), "Cells")["dataset_id"]
    known = command("submit", files.url("/scan.tif"), "--name", "Known", "--pixel-size", "2 x 2 mm", "--quiet")
    known_id = known.out.strip()
    assert client.get(known_id)["pixel_size"] == {"x": 2, "y": 2, "unit": "mm"}
    try:
        # When they are ready, then the file's is turned with it, and the client's word counts
        assert ready(client, scan)["pixel_size"] == {"x": 101.6, "y": 50.8, "unit": "µm"}
        info = ready(client, cells)
        assert info["pixel_size"] == client.get(cells)["pixel_size"] == MICRO
        assert "0.25 x 0.25 µm" in command("status", cells).out
        assert ready(client, known_id)["pixel_size"] == {"x": 2, "y": 2, "unit": "mm"}
        assert ready(client, known_id)["tile_id"] == ready(client, scan)["tile_id"]
        # And every description has it; a service of one scale is left out where pixels are not square
        urls = client.get(cells)["urls"]
        assert physical(get(urls["iiif"])["service"][0]) == (0.00025, "mm")
        assert physical(get(f"/iiif/{info['tile_id']}/info.json")["service"][0]) == (0.00025, "mm")
        assert physical(get(f"/iiif/2/{cells}/info.json")["service"]) == (0.00025, "mm")
        assert physical(get(urls["manifest"])["items"][0]["service"][0]) == (0.00025, "mm")
        older = get(f"/iiif/2/{cells}/manifest.json")["sequences"][0]["canvases"][0]
        assert physical(older["service"]) == (0.00025, "mm")
        assert get(urls["tilejson"])["pixel_size"] == MICRO
        assert "service" not in get(client.get(scan)["urls"]["iiif"])
        assert "service" not in get(client.get(scan)["urls"]["manifest"])["items"][0]
        assert get(client.get(scan)["urls"]["tilejson"])["pixel_size"] == {"x": 101.6, "y": 50.8, "unit": "µm"}
        assert physical(get(client.get(known_id)["urls"]["iiif"])["service"][0]) == (2, "mm")
        [described] = stack.data.glob(f"storage/pyramids/{info['tile_id']}/*/pyramid.json")
        assert json.loads(described.read_text())["pixel_size"] == MICRO
        # When it is changed and forgotten, then status, dataset and addresses follow
        etag = requests.get(f"{stack.url}/api/datasets/{cells}/status", timeout=60).headers["ETag"]
        changed = requests.patch(f"{stack.url}/api/datasets/{cells}", json={"pixel_size": "3 nm"}, timeout=60)
        assert changed.json()["pixel_size"] == {"x": 3, "y": 3, "unit": "nm"}
        answer = requests.get(f"{stack.url}/api/datasets/{cells}/status", headers={"If-None-Match": etag}, timeout=60)
        assert answer.json()["tile_info"]["pixel_size"] == {"x": 3, "y": 3, "unit": "nm"}
        until(lambda: physical(get(urls["iiif"])["service"][0]) == (3e-6, "mm"), "the new size in info.json")
        requests.patch(f"{stack.url}/api/datasets/{cells}", json={"name": "Other"}, timeout=60)
        assert client.get(cells)["pixel_size"] == {"x": 3, "y": 3, "unit": "nm"}
        forgotten = requests.patch(f"{stack.url}/api/datasets/{cells}", json={"pixel_size": None}, timeout=60)
        assert forgotten.json()["pixel_size"] == MICRO
        # What is no size is refused by its field
        for given in ({"x": 0, "unit": "mm"}, {"x": 1, "y": 1, "unit": "px"}, "1 mile", 5, {"x": 1e400, "unit": "m"}):
            body = json.dumps({"pixel_size": given})
            refused = requests.patch(
                f"{stack.url}/api/datasets/{cells}",
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=60,
            )
            assert refused.status_code == 422, (given, refused.text)
            assert refused.json()["errors"][0]["pointer"] == "/pixel_size"
        # And a dataset that was tiled before there were sizes has one after a forced refresh
        with closing(sqlite3.connect(stack.data / "tilewright.sqlite3", timeout=60)) as rows, rows:
            rows.execute("UPDATE pyramids SET more = '' WHERE tile_id = ?", [info["tile_id"]])
        assert client.get(cells)["pixel_size"] is None
        again = requests.post(f"{stack.url}/api/datasets/{cells}/refresh?force=true", timeout=60)
        assert again.status_code == 202
        until(lambda: client.get(cells)["pixel_size"] == MICRO, "the size of the new pyramid")
    finally:
        for dataset_id in (scan, cells, known_id):
            client.delete(dataset_id)
