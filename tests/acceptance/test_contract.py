"""The user's contract over HTTP, to the letter: a client written to it years ago still works."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from pipeline.pyramids import PYRAMID_VERSION
from tests.acceptance.jobs import LOOK, finish, ready, submit, until
from tests.support.network.answers import gated
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def post(stack: LaunchedStack, body: dict[str, object], **headers: str) -> requests.Response:
    return requests.post(f"{stack.url}/api/datasets", json=body, headers=headers, timeout=60)


def get(stack: LaunchedStack, path: str) -> requests.Response:
    return requests.get(stack.url + path, timeout=60)


def test_a_post_is_answered_while_its_source_has_not_sent_a_byte(
    stack: LaunchedStack, client: Client, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a source that sends nothing until the gate opens
    gate = threading.Event()
    data = (picture_folder / "map.jpg").read_bytes()
    url = sources.on("/silent-at-first.jpg", gated(data, 0, gate))

    # When it is submitted, then the answer is the contract's
    answer = post(stack, {"name": "Map", "description": "Sheet 7", "category": "maps", "subject": "alps", "url": url})
    body = answer.json()
    dataset_id = body["dataset_id"]
    assert answer.status_code == 202
    assert re.fullmatch(r"custom_[0-9a-f]{8,}", dataset_id)
    assert answer.headers["Location"] == f"/api/datasets/{dataset_id}"
    assert body == {
        "success": True,
        "dataset_id": dataset_id,
        "status": "processing",
        "message": "Dataset created, processing tiles",
        "status_url": f"/api/datasets/{dataset_id}/status",
        "view_url": f"/view/{dataset_id}",
        "urls": body["urls"],
    }

    # And it is in the catalogue from that moment, its tile URLs being placeholders
    dataset = get(stack, f"/api/datasets/{dataset_id}").json()
    assert dataset["tile_urls"] == {"dzi": None, "xyz": None, "thumbnail": None}
    assert dataset["status"] == "processing"
    assert {name: dataset[name] for name in ("name", "description", "category", "subject", "url")} == {
        "name": "Map",
        "description": "Sheet 7",
        "category": "maps",
        "subject": "alps",
        "url": url,
    }
    assert dataset_id in [row["dataset_id"] for row in get(stack, "/api/datasets").json()["datasets"]]

    # And its status says that it is downloading
    status = until(client, dataset_id, "DOWNLOADING")
    assert status["status"] == "processing"
    assert status["progress"] == "downloading"
    assert status["message"].startswith("Downloading…")
    assert RFC_3339_UTC.fullmatch(status["started_at"])
    assert datetime.fromisoformat(status["started_at"]) <= datetime.now(UTC)
    assert (status["tiles_done"], status["tiles_total"], status["attempt"]) == (0, None, 1)

    # When the gate opens, then it becomes ready, and the tile URLs real by themselves
    gate.set()
    tile_info = ready(client, dataset_id)
    tile_id = tile_info["tile_id"]
    assert tile_info == {
        "tile_id": tile_id,
        "max_zoom": 3,
        "status": "completed",
        "width": 1500,
        "height": 1100,
        "tile_size": 256,
        "format": "jpg",
        "dzi": f"/tiles/{tile_id}.dzi",
        "xyz": f"/tiles/{tile_id}/{{z}}/{{x}}/{{y}}.jpg",
        "pyramid_version": PYRAMID_VERSION,
    }
    dataset = get(stack, f"/api/datasets/{dataset_id}").json()
    assert (dataset["status"], dataset["progress"]) == ("ready", "completed")
    assert dataset["tile_urls"] == {
        "dzi": f"/tiles/{tile_id}.dzi",
        "xyz": f"/tiles/{tile_id}/{{z}}/{{x}}/{{y}}.jpg",
        "thumbnail": f"/tiles/{tile_id}/thumbnail.jpg",
    }
    assert RFC_3339_UTC.fullmatch(dataset["finished_at"])


def test_only_a_name_and_a_url_are_required(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    answer = post(stack, {"name": "Glass", "url": sources.url("/glass.png")})
    assert answer.status_code == 202
    dataset = client.get(answer.json()["dataset_id"])
    assert (dataset["description"], dataset["category"], dataset["subject"]) == ("", "", "")
    assert finish(client, dataset["dataset_id"])["tile_info"]["format"] == "png"


def test_the_phases_come_in_their_order_and_percent_never_goes_back(
    client: Client, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a large picture
    dataset_id = submit(client, sources.url("/huge.jpg"))

    # When its status is polled to the end
    statuses = list(client.watch(dataset_id, pause=LOOK))

    # Then the phases are the contract's, and each percent is at least the one before
    phases = list(dict.fromkeys(status.get("progress") for status in statuses[:-1]))
    assert phases[-2:] == ["downloading", "generating_tiles"] or phases == ["generating_tiles"]
    assert statuses[-1]["status"] == "ready"
    # While the download's length is not known yet, there is no percent.
    percents = [status["percent"] for status in statuses[:-1] if status["percent"] is not None]
    assert percents == sorted(percents)
    assert len(percents) > 1
    assert all(0 <= percent <= 100 for percent in percents)
    tiling = [status for status in statuses[:-1] if status["progress"] == "generating_tiles"]
    assert {status["bytes_downloaded"] for status in tiling} == {(picture_folder / "huge.jpg").stat().st_size}
    assert any(0 < status["tiles_done"] <= status["tiles_total"] for status in tiling)
    assert {status["attempt"] for status in statuses[:-1]} == {1}


@pytest.mark.parametrize("path", ["", "/status"])
@pytest.mark.parametrize("dataset_id", ["custom_00000000", "nonsense"])
def test_an_unknown_id_is_a_404_as_a_problem_document(stack: LaunchedStack, dataset_id: str, path: str) -> None:
    answer = get(stack, f"/api/datasets/{dataset_id}{path}")
    problem = answer.json()
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["code"], problem["success"]) == (404, "not_found", False)
    assert problem["request_id"] == answer.headers["X-Request-ID"]


def test_a_status_that_has_not_changed_is_a_304(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    # Given a dataset that is ready
    dataset_id = submit(client, sources.url("/map.jpg"))
    ready(client, dataset_id)

    # When its status is asked for again by its ETag
    first = get(stack, f"/api/datasets/{dataset_id}/status")
    again = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=60)

    # Then nothing is sent
    assert (again.status_code, again.content) == (304, b"")


def test_prefer_wait_gives_the_old_blocking_way(stack: LaunchedStack, sources: SourceServer) -> None:
    # When a picture is submitted by a client that rather waits
    answer = post(stack, {"name": "Map", "url": sources.url("/map.jpg")}, Prefer="wait=60")

    # Then it gets the finished dataset
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert answer.headers["Location"] == f"/api/datasets/{answer.json()['dataset_id']}"
    assert answer.json()["status"] == "ready"
    assert answer.json()["tile_info"]["width"] == 1500


def test_prefer_wait_also_ends_with_what_fails(stack: LaunchedStack, sources: SourceServer) -> None:
    answer = post(stack, {"name": "Nothing", "url": sources.url("/missing.jpg")}, Prefer="wait=60")
    assert answer.status_code == 201
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["code"] == "source_not_found"


def test_prefer_wait_that_is_too_short_gives_the_answer_of_old(
    stack: LaunchedStack, client: Client, sources: SourceServer
) -> None:
    # Given a source that does not come to an end
    gate = threading.Event()
    url = sources.on("/slow.jpg", gated(b"\xff\xd8\xff" + bytes(5000), 3, gate))

    # When a client waits for a second, then it gets the 202
    answer = post(stack, {"name": "Slow", "url": url}, Prefer="wait=1")
    assert answer.status_code == 202
    assert answer.json()["status"] == "processing"

    # And the work is still cancelled when it is told to
    client.cancel(answer.json()["dataset_id"])
    gate.set()
    assert finish(client, answer.json()["dataset_id"])["error"]["code"] == "cancelled"


def test_several_at_once_come_to_their_own_ends(client: Client, sources: SourceServer, picture_folder: Path) -> None:
    # Given more pictures than there are workers, the second of them broken
    names = ["map.jpg", "truncated.jpg", "glass.png", "missing.jpg", "map.jpg", "glass.png"]

    # When all are submitted at once
    ids = [submit(client, sources.url(f"/{name}?{number}"), name) for number, name in enumerate(names)]
    ends = [finish(client, dataset_id) for dataset_id in ids]

    # Then each has its own end
    assert len(set(ids)) == 6
    assert [end["status"] for end in ends] == ["ready", "failed", "ready", "failed", "ready", "ready"]
    assert ends[1]["error"]["code"] == "image_truncated"
    assert ends[3]["error"]["code"] == "source_not_found"
    assert ends[0]["tile_info"] == ends[4]["tile_info"]


def test_the_same_bytes_are_never_tiled_twice(
    stack: LaunchedStack, client: Client, sources: SourceServer, picture_folder: Path
) -> None:
    # Given a picture that is ready
    first = ready(client, submit(client, sources.url("/map.jpg?first")))
    builds = stack.data / "storage" / "pyramids" / first["tile_id"]
    before = {path: path.stat().st_mtime_ns for path in builds.rglob("*")}

    # When the same bytes come from another URL
    again = ready(client, submit(client, sources.url("/map.jpg?second")))

    # Then they are ready by the pyramid that is there
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in builds.rglob("*")} == before

    # And with another tile size they are another pyramid
    other = client.submit(sources.url("/map.jpg"), "Map", tile_size=512)["dataset_id"]
    assert ready(client, other)["tile_id"] != first["tile_id"]


def test_a_dataset_that_is_deleted_is_gone(stack: LaunchedStack, client: Client, sources: SourceServer) -> None:
    dataset_id = submit(client, sources.url("/map.jpg"))
    client.delete(dataset_id)
    assert get(stack, f"/api/datasets/{dataset_id}").status_code == 404
    assert dataset_id not in [row["dataset_id"] for row in client.datasets()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "https://example.org/a.jpg"}, "name"),
        ({"name": "A"}, "url"),
        ({"name": "A", "url": "ftp://example.org/a.jpg"}, "url"),
        ({"name": "A", "url": "https://user:secret@example.org/a.jpg"}, "url"),
        ({"name": "A", "url": "https://example.org/a.jpg", "tile_size": 300}, "tile_size"),
    ],
)
def test_a_wrong_request_is_a_problem_that_names_the_field(
    stack: LaunchedStack, body: dict[str, object], field: str
) -> None:
    answer = post(stack, body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["success"] is False
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]
    assert "secret" not in answer.text


def test_the_page_the_reference_and_the_health_checks_are_there(stack: LaunchedStack) -> None:
    assert get(stack, "/healthz").json() == {"status": "ok"}
    assert get(stack, "/readyz").json()["status"] == "ok"
    assert get(stack, "/").headers["Content-Type"].startswith("text/html")
    assert get(stack, "/docs").headers["Content-Type"].startswith("text/html")
    assert "/api/datasets" in get(stack, "/openapi.json").json()["paths"]
