"""One address for ever: what the POST says is right before, while and after there are tiles, and after a deletion."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.jobs import finish, ready
from tests.support.images import pictures
from tests.support.network.answers import gated
from tests.support.network.sources import SourceServer
from tests.support.rigs import conformance
from tests.support.rigs.waiting import until
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

PAGES = {"view", "embed"}
"""Pages, which are there from the beginning."""


def get(stack: LaunchedStack, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{stack.url}{path.format(z=0, x=0, y=0)}", headers=headers, timeout=60)


@pytest.mark.parametrize("transparent", [False, True])
def test_every_url_of_the_post_answers_from_ready_on(
    stack: LaunchedStack, client: Client, files: SourceServer, tmp_path: Path, *, transparent: bool
) -> None:
    # Given a source that sends its beginning only, until the test lets it go on
    name = "glass.png" if transparent else "map.jpg"
    pictures.save(pictures.scene(700, 500, bands=4 if transparent else 3), tmp_path / name)
    go = threading.Event()
    url = files.on(f"/{name}", gated((tmp_path / name).read_bytes(), 1000, go))
    created = client.submit(url, "Earth")
    dataset_id, urls = created["dataset_id"], created["urls"]
    assert set(urls) == {"dzi", "xyz", "tilejson", "iiif", "manifest", "thumbnail", "szi", "view", "embed"}
    assert client.get(dataset_id)["urls"] == urls
    # Then its tiles are not ready, and a client may come back
    for kind, path in urls.items():
        answer = get(stack, path)
        if kind in PAGES:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["code"]) == (404, "not_ready"), kind
            assert int(answer.headers["Retry-After"]) > 0
    # When it is ready
    go.set()
    tile_info = ready(client, dataset_id)
    # Then all of them answer, with the bytes of the immutable ones
    for kind, path in urls.items():
        answer = get(stack, path)
        assert answer.status_code == 200, (kind, answer.text)
        # What names its own address is the same at no other one
        assert ("Content-Location" in answer.headers) == (kind in {"dzi", "xyz", "thumbnail", "szi"})
        if location := answer.headers.get("Content-Location"):
            assert tile_info["tile_id"] in location
            assert get(stack, location).content == answer.content
    assert get(stack, urls["xyz"]).headers["Content-Type"] == ("image/png" if transparent else "image/jpeg")
    # And the list says the same
    assert client.get(dataset_id)["urls"] == urls


def test_a_failed_dataset_says_why_at_its_addresses(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    created = client.submit(sources.url("/page.html"), "A page")
    assert finish(client, created["dataset_id"])["status"] == "failed"
    answer = get(stack, created["urls"]["dzi"])
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (404, "not_ready")
    assert "web page" in problem["detail"]
    assert "Retry-After" not in answer.headers


def test_a_deleted_dataset_is_gone_for_ever(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    created = client.submit(sources.url("/map.jpg"), "Earth")
    ready(client, created["dataset_id"])
    addresses = [path for kind, path in created["urls"].items() if kind not in PAGES]
    assert all(get(stack, path).status_code == 200 for path in addresses)
    # When it is deleted
    client.delete(created["dataset_id"])
    # Then within seconds it is gone at each of them
    until(lambda: all(get(stack, path).status_code == 410 for path in addresses), "410 at all addresses")
    assert get(stack, created["urls"]["dzi"]).json()["code"] == "deleted"
    # And an id that never was is not found
    assert get(stack, "/tiles/custom_ffffffffffff.dzi").json()["code"] == "not_found"


PREZI = """
import json, sys
from iiif_prezi3 import Manifest
given = json.load(sys.stdin)
made = json.loads(Manifest.model_validate(given).json())
for page in made["items"][0].get("annotations", []):
    assert page.pop("items") == []  # the reader adds them to a page that lies elsewhere
assert made == given, (made, given)
"""
"""Reads a manifest by the schema of the Presentation API, and writes it again."""


def test_the_manifest_has_the_schema_of_the_specification(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    words: dict[str, Any] = {
        "category": "maps",
        "subject": "relief",
        "description": "Two\nlines",
        "tags": ["a", "b"],
        "metadata": {"shelf": "K 12"},
        "rights": {"text": "CC BY", "url": "http://creativecommons.org/licenses/by/4.0/"},
        "attribution": {"text": "A & B", "url": "https://example.org"},
        "pixel_size": "0.1 mm",
        "georeference": "EPSG:4326 0.01 0 7 0 -0.01 48",
    }
    nothing: dict[str, Any] = {}
    for given in (nothing, words):
        created = client.submit(sources.url("/map.jpg"), "Earth", **given)
        ready(client, created["dataset_id"])
        manifest = get(stack, created["urls"]["manifest"])
        done = conformance.run("-c", PREZI, stdin=manifest.text)
        assert done.returncode == 0, done.stderr
        client.delete(created["dataset_id"])
