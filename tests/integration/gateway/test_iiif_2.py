"""IIIF Image API 2.1 and Presentation API 2.1: what the older documents promise is there, version 3 being unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.tile_rig import DATASET_ID, TILE_ID, Answer, Kiln, Site

BASE = "http://tiles.example.org"


@pytest.fixture(params=[3, 4], ids=["jpeg", "png"])
def site(request: pytest.FixtureRequest, tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    if request.param == 3:
        site.store(pictures.jpeg(tmp_path / "source.jpg", 1500, 700))
    else:
        pictures.save(pictures.scene(1500, 700, bands=4), tmp_path / "source.png")
        site.store(tmp_path / "source.png")
    site.catalogue.shown[DATASET_ID] = TILE_ID
    yield site
    site.close()


def get(site: Site, path: str, **headers: str) -> Answer:
    return site.get(f"/iiif{path}", app=site.iiif, **headers)


def document(site: Site, path: str, **headers: str) -> dict[str, Any]:
    answer = get(site, path, **headers)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


@pytest.mark.parametrize("name", [TILE_ID, DATASET_ID])
def test_every_tile_and_size_is_there_by_its_canonical_address(site: Site, name: str) -> None:
    info = document(site, f"/2/{name}/info.json")
    assert (info["@context"], info["@id"]) == ("http://iiif.io/api/image/2/context.json", f"{BASE}/iiif/2/{name}")
    level, features = info["profile"]
    assert level == "http://iiif.io/api/image/2/level2.json"
    extension = features["formats"][0]
    assert set(features["formats"]) == {"jpg", "png", "webp"}
    (tiles,) = info["tiles"]
    width, height = info["width"], info["height"]
    for scale in tiles["scaleFactors"]:
        step = tiles["width"] * scale
        for x in range(0, width, step):
            for y in range(0, height, step):
                w, h = min(step, width - x), min(step, height - y)
                # The canonical size is `w,` (section 4.7); viewers also ask for `w,h`
                for size in (f"{-(-w // scale)},", f"{-(-w // scale)},{-(-h // scale)}"):
                    answer = get(site, f"/2/{name}/{x},{y},{w},{h}/{size}/0/default.{extension}")
                    assert answer.status == 200
                    assert pictures.decode(answer.body).shape[:2] == (-(-h // scale), -(-w // scale))
                    assert (
                        b'image/2/level2.json>;rel="profile"' in answer.headers["link"].encode() or name == DATASET_ID
                    )
    for size in info["sizes"]:
        answer = get(site, f"/2/{name}/full/{size['width']},/0/native.{extension}")
        assert pictures.decode(answer.body).shape[:2] == (size["height"], size["width"])
    # None of these was made on request, but the whole image is
    assert site.regions.pool.stats.started == 0
    whole = [get(site, f"/2/{name}/full/{size}/0/default.jpg") for size in ("full", "max")]
    assert [pictures.decode(answer.body).shape[:2] for answer in whole] == [(height, width)] * 2


def test_the_version_is_chosen_by_the_path_or_by_the_profile_that_is_accepted(site: Site) -> None:
    plain, third = document(site, f"/{TILE_ID}/info.json"), document(site, f"/3/{TILE_ID}/info.json")
    assert (plain["type"], third["type"], plain["id"], third["id"]) == (
        "ImageService3",
        "ImageService3",
        f"{BASE}/iiif/{TILE_ID}",
        f"{BASE}/iiif/3/{TILE_ID}",
    )
    profile = 'application/ld+json;profile="http://iiif.io/api/image/2/context.json"'
    asked = get(site, f"/{TILE_ID}/info.json", accept=profile)
    assert json.loads(asked.body)["@id"] == f"{BASE}/iiif/2/{TILE_ID}"
    assert (asked.headers["content-type"], asked.headers["vary"]) == (profile, "Accept")
    # The path wins
    assert document(site, f"/3/{TILE_ID}/info.json", accept=profile)["type"] == "ImageService3"
    redirect = get(site, f"/2/{TILE_ID}")
    assert (redirect.status, redirect.headers["location"]) == (303, f"{BASE}/iiif/2/{TILE_ID}/info.json")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/2/{TILE_ID}/full/^max/0/default.jpg", 400),
        (f"/{TILE_ID}/full/full/0/default.jpg", 400),
        (f"/3/{TILE_ID}/full/max/0/native.jpg", 400),
        (f"/2/{TILE_ID}/full/97,/0/default.jpg", 200),
        (f"/2/{TILE_ID}/full/full/90/default.jpg", 200),
        (f"/2/{TILE_ID}/0,0,100,100/200,/0/default.jpg", 200),  # enlarged, for which version 3 has a sign
        (f"/3/{TILE_ID}/0,0,100,100/200,/0/default.jpg", 400),
        (f"/4/{TILE_ID}/info.json", 404),
        ("/2", 404),
        ("/2/", 404),
        (f"/2/2/{TILE_ID}/info.json", 404),
    ],
)
def test_what_the_version_does_not_have_is_refused(site: Site, path: str, status: int) -> None:
    assert get(site, path).status == status


def test_the_older_manifest_names_what_is_there(site: Site) -> None:
    manifest = document(site, f"/2/{DATASET_ID}/manifest.json")
    assert (manifest["@type"], manifest["label"], manifest["description"]) == ("sc:Manifest", "The Earth", "In June")
    assert {"label": "Category", "value": "earth"} in manifest["metadata"]
    ((canvas,),) = [sequence["canvases"] for sequence in manifest["sequences"]]
    resource = canvas["images"][0]["resource"]
    assert (canvas["width"], canvas["height"]) == (1500, 700)
    assert (canvas["label"], canvas["thumbnail"]) == (manifest["label"], manifest["thumbnail"])
    image = get(site, resource["@id"].removeprefix(f"{BASE}/iiif"))
    assert pictures.decode(image.body).shape[:2] == (resource["height"], resource["width"])
    service = document(site, resource["service"]["@id"].removeprefix(f"{BASE}/iiif") + "/info.json")
    assert service["@id"] == resource["service"]["@id"]
