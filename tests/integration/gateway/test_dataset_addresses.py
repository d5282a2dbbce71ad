"""A dataset's id in place of a tile_id: the same bytes, and headers that say that they may change."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.http import Deleted, Limits, NotReady, RequestId
from gateway.http_server_protocol import protocol_for
from gateway.tiles import QuickTiles
from pipeline.storage.directory import DirectoryStorage
from tests.support.images import pictures
from tests.support.rigs.tile_rig import DATASET_ID, TILE_ID, Answer, Kiln, Server, Site

NEWER = "f" * 64

TILES = [
    f"/tiles/{DATASET_ID}_files/10/1_0.jpg",
    f"/tiles/{DATASET_ID}/2/1/0.jpg",
    f"/tiles/{DATASET_ID}/2/1/0",
    f"/tiles/{DATASET_ID}/2/2/1",
]


@pytest.fixture
def site(tmp_path: Path, kiln: Kiln) -> Iterator[Site]:
    """A pyramid of a JPEG, which DATASET_ID shows, and another one."""
    site = Site(DirectoryStorage(tmp_path / "storage"), tmp_path, kiln)
    site.store(pictures.jpeg(tmp_path / "source.jpg", 700, 301))
    site.store(pictures.jpeg(tmp_path / "newer.jpg", 900, 301), tile_id=NEWER, run="b")
    site.catalogue.shown[DATASET_ID] = TILE_ID
    yield site
    site.close()


def canonical(path: str) -> str:
    is_bare = "_files" not in path and "." not in path
    return path.replace(DATASET_ID, TILE_ID) + (".jpg" if is_bare and path.startswith("/tiles/") else "")


def test_each_address_leads_to_the_bytes_of_the_present_pyramid(site: Site) -> None:
    for path in [f"/tiles/{DATASET_ID}.dzi", f"/tiles/{DATASET_ID}.szi", f"/tiles/{DATASET_ID}/thumbnail.jpg", *TILES]:
        answer, immutable = site.get(path), site.get(canonical(path))
        assert (answer.status, answer.body) == (200, immutable.body)
        assert answer.headers["etag"] == immutable.headers["etag"]
        assert answer.headers["content-type"] == immutable.headers["content-type"]
        # Then it may be kept for a short time only, and names the address that never changes
        assert answer.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=600"
        assert answer.headers["content-location"] == canonical(path)
        assert answer.headers["link"] == f'<{canonical(path)}>; rel="canonical"'
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "content-location" not in immutable.headers


def test_a_tile_that_a_cache_has_is_confirmed(site: Site) -> None:
    for path in TILES:
        etag = site.get(canonical(path)).headers["etag"]
        answer = site.get(path, if_none_match=etag)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["content-location"] == canonical(path)


def test_descriptors_lead_to_tiles_by_the_address_that_was_requested(site: Site) -> None:
    tilejson = json.loads(site.get(f"/tiles/{DATASET_ID}/tilejson.json").body)
    assert tilejson["tiles"] == [f"http://tiles.example.org/tiles/{DATASET_ID}/{{z}}/{{x}}/{{y}}"]
    info = json.loads(site.get(f"/iiif/{DATASET_ID}/info.json", app=site.iiif).body)
    assert info["id"] == f"http://tiles.example.org/iiif/{DATASET_ID}"
    image = site.get(f"/iiif/{DATASET_ID}/full/max/0/default.jpg", app=site.iiif)
    assert image.body == site.get(f"/iiif/{TILE_ID}/full/max/0/default.jpg", app=site.iiif).body
    # Then what names the request's Host is not kept by caches
    assert site.get(f"/iiif/{DATASET_ID}/info.json", app=site.iiif).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        f"/tiles/{TILE_ID}/2/1/0",  # an immutable address has one spelling
        f"/tiles/{DATASET_ID}/2/1/0.png",
        f"/tiles/{DATASET_ID}/2/01/0",
        f"/tiles/{DATASET_ID}/2/9/0",
        f"/tiles/{DATASET_ID}_files/10/1_0",
        f"/tiles/{DATASET_ID}.zip",
        f"/tiles/{DATASET_ID}",
        "/tiles/custom_0a1b2c3",
        "/tiles/custom_0a1b2c3.dzi",
        "/tiles/custom_0A1B2C3D.dzi",
        "/tiles/custom_0a1b2c3e.dzi",
        "/tiles/.dzi",
    ],
)
def test_what_leads_nowhere_is_not_found(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (NotReady(f"The dataset {DATASET_ID} is not ready yet.", will_be=True), 404, "not_ready", "2"),
        (NotReady(f"The dataset {DATASET_ID} has no tiles: it was cancelled.", will_be=False), 404, "not_ready", None),
        (Deleted(f"The dataset {DATASET_ID} was deleted."), 410, "deleted", None),
    ],
)
def test_a_dataset_without_tiles_says_why(
    site: Site, error: NotReady | Deleted, status: int, code: str, retry_after: str | None
) -> None:
    site.catalogue.shown[DATASET_ID] = error
    for path in [f"/tiles/{DATASET_ID}.dzi", *TILES]:
        answer = site.get(path)
        problem = json.loads(answer.body)
        assert (answer.status, problem["code"], answer.headers.get("retry-after")) == (status, code, retry_after)
        assert DATASET_ID in problem["detail"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_a_new_pyramid_is_shown_within_seconds(site: Site) -> None:
    # Given a dataset that is being looked at
    before = site.get(TILES[0])
    # When it shows another pyramid
    site.catalogue.shown[DATASET_ID] = NEWER
    site.now += 5.1
    after = site.get(TILES[0])
    # Then its address leads there
    assert (after.status, before.body == after.body) == (200, False)
    assert after.headers["content-location"] == TILES[0].replace(DATASET_ID, NEWER)


def test_a_pyramid_that_is_gone_is_asked_for_once_more(site: Site) -> None:
    # Given an answer that was kept, and a pyramid that was removed since, with its files
    site.get(TILES[0])
    site.catalogue.shown[DATASET_ID] = NEWER
    del site.catalogue.pyramids[TILE_ID]
    site.close()
    assert site.get(TILES[0]).headers["content-location"] == TILES[0].replace(DATASET_ID, NEWER)


def test_tiles_go_on_while_statussvc_is_away(site: Site) -> None:
    site.get(TILES[0])
    site.catalogue.away = True
    site.now += 3600
    assert site.get(TILES[0]).status == 200
    # Then only what was never seen cannot be had
    answer = site.get(TILES[0].replace("0a1b", "0a1c"))
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "service_unavailable")


class Wire:
    """A connection to a real server with the fast path."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        self._connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = self._connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    quick = QuickTiles(site.pyramids, site.addresses)
    with Server(RequestId(site.tiles), protocol_for(quick, Limits(1000, 60.0, 60.0))) as port:
        wire = Wire(port)
        yield wire
        wire.close()


def is_quick(answer: Answer) -> bool:
    """Only the long way names a request."""
    return "x-request-id" not in answer.headers


def test_the_fast_path_gives_the_same_response(site: Site, wire: Wire) -> None:
    wire.get(TILES[0])  # opens the pyramid
    for path in TILES:
        short, long = wire.get(path), wire.get(path, x_request_id="mine")
        assert (is_quick(short), is_quick(long)) == (True, False)
        for answer in (short, long):
            answer.headers.pop("date")
        long.headers.pop("x-request-id")
        assert short == long
    for path in (f"/tiles/{TILE_ID}/2/1/0", f"/tiles/{DATASET_ID}/2/1/0.png", f"/tiles/{DATASET_ID}_files/10/1_0"):
        answer = wire.get(path)
        assert (answer.status, is_quick(answer)) == (404, False)


def test_the_fast_path_shows_the_new_pyramid(site: Site, wire: Wire) -> None:
    before = [wire.get(path) for path in TILES for _ in range(2)][1::2]
    assert all(map(is_quick, before))
    site.catalogue.shown[DATASET_ID] = NEWER
    site.now += 5.1
    after = [wire.get(path) for path in TILES for _ in range(2)][1::2]
    assert all(map(is_quick, after))
    for old, new in zip(before, after, strict=True):
        assert new.headers["content-location"] == old.headers["content-location"].replace(TILE_ID, NEWER)
    # When the dataset is deleted, it is gone by this way too
    site.catalogue.shown[DATASET_ID] = Deleted(f"The dataset {DATASET_ID} was deleted.")
    site.now += 5.1
    assert [wire.get(path).status for path in TILES] == [410] * len(TILES)


def test_a_manifest_has_the_texts_and_the_image(site: Site) -> None:
    answer = site.get(f"/iiif/{DATASET_ID}/manifest.json", app=site.iiif)
    document = json.loads(answer.body)
    assert (answer.status, document["label"], document["summary"]) == (
        200,
        {"none": ["The Earth"]},
        {"none": ["In June"]},
    )
    (canvas,) = document["items"]
    assert (canvas["width"], canvas["height"]) == (700, 301)
    body = canvas["items"][0]["items"][0]["body"]
    # Then what it names is there, with the size that it says
    base = "http://tiles.example.org"
    assert body["service"][0]["id"] == f"{base}/iiif/{DATASET_ID}"
    image = pictures.decode(site.get(body["id"].removeprefix(base), app=site.iiif).body)
    assert image.shape[:2] == (body["height"], body["width"])
    assert canvas["label"] == document["label"]
    assert canvas["thumbnail"] == document["thumbnail"]
    (thumbnail,) = document["thumbnail"]
    assert pictures.decode(site.get(thumbnail["id"].removeprefix(base)).body).shape[:2] == (
        thumbnail["height"],
        thumbnail["width"],
    )
    assert site.get(f"/iiif/{TILE_ID}/manifest.json", app=site.iiif).status == 404
