"""The REST contract over real HTTP, with a real statussvc behind it."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway, SilentRelay
from tests.support.rigs.servers import free_port
from tests.support.rigs.status_rig import Status

URL = "https://example.org/earth.jpg"


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Status]:
    with status_rig.running(f"sqlite:///{tmp_path_factory.mktemp('rows') / 'rows.sqlite3'}") as rig:
        yield rig


@pytest.fixture(scope="module")
def relay() -> SilentRelay:
    return SilentRelay()


@pytest.fixture(scope="module")
def gateway(status: Status, relay: SilentRelay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_rig.serving(status.address, tmp_path_factory.mktemp("storage"), relay) as rig:
        yield rig


def problem(response: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that a response is; fails where it is none, or another."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == status
    assert body["success"] is False
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert {"type", "title", "detail", "instance"} <= set(body)
    return body


def make_ready(status: Status, dataset_id: str, sha256: str) -> None:
    """Play both workers."""
    ingest, tiler = uuid.uuid4().hex, uuid.uuid4().hex
    status.begin(dataset_id, ingest)
    status.complete_ingest(ingest, sha256)
    status.begin(dataset_id, tiler, stage=pb.STAGE_TILER)
    status.complete_tiler(tiler)


def test_a_post_answers_with_the_contract_and_pokes_the_relay(gateway: Gateway, relay: SilentRelay) -> None:
    before = relay.pokes
    # When an old client posts, with a field that is unknown today
    response = gateway.post("/api/datasets", json={"name": "Earth", "url": URL, "queue_processing": True})
    # Then it is accepted, to the letter
    answer = response.json()
    dataset_id = answer["dataset_id"]
    assert response.status_code == 202
    assert re.fullmatch(r"custom_[0-9a-f]{8,}", dataset_id)
    assert answer == {
        "success": True,
        "dataset_id": dataset_id,
        "status": "processing",
        "message": "Dataset created, processing tiles",
        "status_url": f"/api/datasets/{dataset_id}/status",
        "view_url": f"/view/{dataset_id}",
        "urls": answer["urls"],
    }
    assert response.headers["Location"] == f"/api/datasets/{dataset_id}"
    assert relay.pokes == before + 1


def test_a_dataset_is_there_from_the_moment_of_its_answer(gateway: Gateway) -> None:
    dataset_id = gateway.submit("Here", description="d", category="c", subject="s")
    # Then it is found by itself and in the catalogue, newest first, with placeholders for its tiles
    alone = gateway.get(f"/api/datasets/{dataset_id}").json()
    assert gateway.get("/api/datasets").json()["datasets"][0] == alone
    assert alone["tile_urls"] == {"dzi": None, "xyz": None, "thumbnail": None}
    assert (alone["name"], alone["description"], alone["category"], alone["subject"]) == ("Here", "d", "c", "s")
    assert (alone["status"], alone["progress"], alone["state"]) == ("processing", "queued", "QUEUED")
    # And its status says that it waits
    waiting = gateway.get(f"/api/datasets/{dataset_id}/status").json()
    assert (waiting["status"], waiting["percent"]) == ("queued", 0.0)
    assert "started_at" not in waiting


def test_a_status_is_the_same_by_the_short_way_and_by_the_long_one(gateway: Gateway, status: Status) -> None:
    # Given a dataset at work, and one that has ended
    at_work, ended = gateway.submit(), gateway.submit("Mars")
    status.begin(at_work, "7" * 32)
    status.beat("7" * 32, 1, bytes_downloaded=50, bytes_total=200, stage_percent=25.0)
    assert gateway.post(f"/api/datasets/{ended}/cancel").status_code == 200
    for dataset_id in (at_work, ended, "custom_00000000"):
        path = f"/api/datasets/{dataset_id}/status"
        # When each is asked for plainly, and as a page of another origin asks, which the framework answers
        short, long = gateway.get(path), gateway.get(path, headers={"Origin": "https://viewer.example"})
        # Then they differ in what the other origin is allowed, and in what is each request's own
        left_out = {"date", "vary", "x-request-id", "access-control-allow-origin", "access-control-expose-headers"}
        told = [{name.lower(): value for name, value in answer.headers.items()} for answer in (short, long)]
        assert {k: v for k, v in told[0].items() if k not in left_out} == {
            k: v for k, v in told[1].items() if k not in left_out
        }
        if short.ok:
            assert short.content == long.content
            known = {"If-None-Match": short.headers["ETag"]}
            not_modified = gateway.get(path, headers=known)
            assert (not_modified.status_code, not_modified.content) == (304, b"")
        assert gateway.call("HEAD", path).headers["Content-Type"] == short.headers["Content-Type"]


def test_a_status_is_followed_from_the_download_to_the_tiles(gateway: Gateway, status: Status) -> None:
    # Given a dataset that an ingest run works on
    dataset_id, run = gateway.submit(), "1" * 32
    status.begin(dataset_id, run)
    status.beat(run, 1, bytes_downloaded=50, bytes_total=200, stage_percent=25.0)
    # Then the status says so, and gives a hint when to ask again
    response = gateway.get(f"/api/datasets/{dataset_id}/status")
    working = response.json()
    assert (working["status"], working["progress"]) == ("processing", "downloading")
    assert (working["message"], working["bytes_downloaded"], working["bytes_total"]) == ("Downloading… 25 %", 50, 200)
    assert working["started_at"].endswith("Z")
    assert response.headers["Retry-After"] == "1"
    # And nothing new is 304, until something is
    known = {"If-None-Match": response.headers["ETag"]}
    same = gateway.get(f"/api/datasets/{dataset_id}/status", headers=known)
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", known["If-None-Match"])
    status.beat(run, 2, bytes_downloaded=60, bytes_total=200, stage_percent=30.0)
    assert gateway.get(f"/api/datasets/{dataset_id}/status", headers=known).status_code == 200
    # When it is ready, then the placeholders have turned real
    status.complete_ingest(run, "01" * 32)
    status.begin(dataset_id, "2" * 32, stage=pb.STAGE_TILER)
    status.complete_tiler("2" * 32)
    ready = gateway.get(f"/api/datasets/{dataset_id}/status")
    info = ready.json()["tile_info"]
    assert ready.json() == {
        "dataset_id": dataset_id,
        "status": "ready",
        "tile_info": info,
        "warnings": [],
        "stretch": None,
    }
    assert (info["max_zoom"], info["status"], info["width"], info["height"]) == (2, "completed", 1000, 700)
    assert "Retry-After" not in ready.headers
    dataset = gateway.get(f"/api/datasets/{dataset_id}").json()
    assert dataset["tile_urls"]["dzi"] == f"/tiles/{info['tile_id']}.dzi" == info["dzi"]
    assert dataset["tile_info"] == info


def test_a_failed_dataset_says_why_and_can_be_retried(gateway: Gateway, status: Status, relay: SilentRelay) -> None:
    # Given a dataset that failed for good
    dataset_id, run = gateway.submit(), "3" * 32
    status.begin(dataset_id, run)
    status.fail(run, "source_not_found", retryable=False)
    assert gateway.get(f"/api/datasets/{dataset_id}/status").json() == {
        "dataset_id": dataset_id,
        "status": "failed",
        "error": {"code": "source_not_found", "message": "It did not work.", "retryable": False},
    }
    # When it is retried, then it waits again, and the relay hears of it
    before = relay.pokes
    retried = gateway.post(f"/api/datasets/{dataset_id}/retry")
    assert (retried.status_code, retried.json()["status"], retried.json()["attempt"]) == (202, "queued", 2)
    assert relay.pokes == before + 1
    # And while it waits, another retry conflicts with its state
    body = problem(gateway.post(f"/api/datasets/{dataset_id}/retry"), 409, "conflict")
    assert body["state"] == "QUEUED"


NEW_URL = "https://example.net/earth.jpg?token=new"


def test_a_retry_and_a_change_take_a_new_url(gateway: Gateway, status: Status, relay: SilentRelay) -> None:
    # Given two datasets whose links expired
    retried, changed = gateway.submit(), gateway.submit()
    for number, dataset_id in enumerate((retried, changed)):
        status.begin(dataset_id, run := f"{number + 1:032x}")
        status.fail(run, "source_expired", retryable=False)
    # When one is retried with a new link, then that is its URL
    answer = gateway.post(f"/api/datasets/{retried}/retry", json={"url": NEW_URL})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert gateway.get(f"/api/datasets/{retried}").json()["url"] == "https://example.net/earth.jpg?***"
    # And when the other is changed, then the next retry uses it
    another = f"{NEW_URL}&another"  # of the same URL, it would wait for the first
    answer = gateway.call("PATCH", f"/api/datasets/{changed}", json={"url": another})
    assert (answer.status_code, answer.json()["url"]) == (200, "https://example.net/earth.jpg?***")
    assert answer.json()["state"] == "FAILED"
    assert gateway.post(f"/api/datasets/{changed}/retry").status_code == 202
    assert status.begin(changed, "9" * 32, attempt=2).url == another
    # And a change of one that waits wakes the relay
    before = relay.pokes
    assert gateway.call("PATCH", f"/api/datasets/{retried}", json={"url": NEW_URL + "er"}).status_code == 200
    assert relay.pokes == before + 1
    # And of one at work it conflicts
    refused = gateway.call("PATCH", f"/api/datasets/{changed}", json={"url": "https://example.net/other.jpg"})
    assert problem(refused, 409, "conflict")["state"] == "DOWNLOADING"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.org/a", "source_invalid_url"),
        ("", "source_invalid_url"),
        ("http://10.0.0.1/a", "source_forbidden_address"),
        (7, "invalid_request"),
    ],
)
def test_a_new_url_is_checked_like_the_first(gateway: Gateway, url: object, code: str) -> None:
    path = f"/api/datasets/{gateway.submit()}"
    for answer in (gateway.call("PATCH", path, json={"url": url}), gateway.post(f"{path}/retry", json={"url": url})):
        assert problem(answer, 422, code)["errors"][0]["pointer"] == "/url"
    assert problem(gateway.call("PATCH", path, json={"url": None}), 422, "invalid_request")


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"json": None}, {"json": {"url": None, "other": 1}}])
def test_a_retry_needs_no_body(gateway: Gateway, status: Status, options: dict[str, Any]) -> None:
    dataset_id = gateway.submit()
    gateway.post(f"/api/datasets/{dataset_id}/cancel")
    assert gateway.post(f"/api/datasets/{dataset_id}/retry", **options).status_code == 202


def test_a_cancelled_dataset_ends_as_failed(gateway: Gateway) -> None:
    dataset_id = gateway.submit()
    cancelled = gateway.post(f"/api/datasets/{dataset_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "failed")
    assert cancelled.json()["error"]["code"] == "cancelled"
    body = problem(gateway.post(f"/api/datasets/{dataset_id}/cancel"), 409, "conflict")
    assert body["state"] == "CANCELLED"


def test_texts_can_be_changed_one_by_one(gateway: Gateway) -> None:
    dataset_id = gateway.submit("Before", description="d", category="c")
    changed = gateway.call("PATCH", f"/api/datasets/{dataset_id}", json={"name": " After ", "description": None})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["description"], changed.json()["category"]) == ("After", "", "c")
    assert gateway.call("PATCH", f"/api/datasets/{dataset_id}", json={}).json() == changed.json()
    refused = gateway.call("PATCH", f"/api/datasets/{dataset_id}", json={"name": None})
    assert problem(refused, 422, "invalid_request")["errors"][0]["pointer"] == "/name"


def test_a_deleted_dataset_is_gone(gateway: Gateway) -> None:
    dataset_id = gateway.submit()
    deleted = gateway.call("DELETE", f"/api/datasets/{dataset_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, path in [("GET", ""), ("GET", "/status"), ("DELETE", ""), ("POST", "/retry"), ("POST", "/cancel")]:
        problem(gateway.call(method, f"/api/datasets/{dataset_id}{path}"), 404, "not_found")
    problem(gateway.call("PATCH", f"/api/datasets/{dataset_id}", json={"name": "x"}), 404, "not_found")


def test_the_catalogue_is_filtered_and_paged(gateway: Gateway, status: Status) -> None:
    # Given five datasets of one category, one of them ready, one failed, one cancelled
    ids = [gateway.submit(f"Page {number}", category="paged", subject=f"s{number % 2}") for number in range(5)]
    make_ready(status, ids[0], "02" * 32)
    status.begin(ids[1], "4" * 32)
    status.fail("4" * 32, retryable=False)
    gateway.post(f"/api/datasets/{ids[2]}/cancel")

    def found(**query: Any) -> list[str]:
        answer = gateway.get("/api/datasets", params={"category": "paged", **query}).json()
        return [dataset["dataset_id"] for dataset in answer["datasets"]]

    # Then filters find each
    assert found() == ids[::-1]
    assert found(status="ready") == ids[:1]
    assert found(status="failed") == [ids[2], ids[1]]
    assert found(status="processing") == found(status="queued") == [ids[4], ids[3]]
    assert found(status=["ready", "failed"]) == [ids[2], ids[1], ids[0]]
    assert found(subject="s1") == [ids[3], ids[1]]
    assert found(q="pAGE 3") == [ids[3]]
    assert found(category="nothing") == []
    # And pages follow each other
    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = gateway.get("/api/datasets", params={"category": "paged", "limit": 2, "cursor": cursor}).json()
        pages.append([dataset["dataset_id"] for dataset in answer["datasets"]])
        cursor = answer["next_cursor"]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


def test_the_catalogue_tells_whether_a_url_or_its_bytes_are_there(gateway: Gateway, status: Status) -> None:
    # Given two datasets of one URL and one of another, with the same bytes as the first
    url = "https://example.org/there.tif?sig=%2babc&n=1"
    one, two, other = (
        gateway.submit(name, url=url, category="there") for name, url in [("1", url), ("2", url), ("3", url + "&m=2")]
    )
    sha256 = "0e" * 32
    make_ready(status, one, sha256)
    make_ready(status, other, sha256)

    def found(**query: Any) -> list[str]:
        answer = gateway.get("/api/datasets", params=query).json()
        return [dataset["dataset_id"] for dataset in answer["datasets"]]

    # Then both are found, by the whole URL and by the bytes, together with other filters and with a search
    assert found(url=url) == [two, one]
    assert found(url=url, limit=1) == [two]
    assert found(url=url[:-1]) == found(url="no URL") == []
    assert found(url=url, status="ready") == found(url=url, sha256=sha256) == found(url=url, q="1") == [one]
    assert found(url=url, category="elsewhere") == []
    assert found(sha256=sha256.upper(), category="there") == [other, one]
    assert found(sha256=sha256, status="ready") == found(sha256=sha256) == [other, one]
    assert found(sha256="0f" * 32) == []
    # And what is deleted is not
    gateway.call("DELETE", f"/api/datasets/{one}")
    assert (found(url=url), found(sha256=sha256)) == ([two], [other])
    problem(gateway.get("/api/datasets", params={"sha256": "0e"}), 422, "invalid_request")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"url": URL}, "invalid_request", "/name"),
        ({"name": "x", "url": f"{URL}\udfff"}, "invalid_request", "/url"),
        ({"name": "x"}, "invalid_request", "/url"),
        ({"name": "", "url": URL}, "invalid_request", "/name"),
        ({"name": "  ", "url": URL}, "invalid_request", "/name"),
        ({"name": "x" * 201, "url": URL}, "invalid_request", "/name"),
        ({"name": "a\0b", "url": URL}, "invalid_request", "/name"),
        ({"name": 7, "url": URL}, "invalid_request", "/name"),
        ({"name": "x", "url": URL, "tile_size": 300}, "invalid_request", "/tile_size"),
        ({"name": "x", "url": URL, "description": "x" * 10_001}, "invalid_request", "/description"),
        ({"name": "x", "url": ""}, "source_invalid_url", "/url"),
        ({"name": "x", "url": "ftp://example.org/a.jpg"}, "source_invalid_url", "/url"),
        ({"name": "x", "url": "https://user:secret@example.org/a.jpg"}, "source_invalid_url", "/url"),
        ({"name": "x", "url": "http://127.0.0.1/a.jpg"}, "source_forbidden_address", "/url"),
        ({"name": "x", "url": "http://[::1]/a.jpg"}, "source_forbidden_address", "/url"),
        ({"name": "x", "url": "http://10.0.0.7:8080/a.jpg"}, "source_forbidden_address", "/url"),
        ({"name": "x", "url": "http://0x7f.1/a.jpg"}, "source_forbidden_address", "/url"),
        ({"name": "x", "url": "http://localhost:9000/a.jpg"}, "source_forbidden_address", "/url"),
        ([], "invalid_request", ""),
        ("text", "invalid_request", ""),
    ],
)
def test_a_post_that_cannot_be_is_refused_at_once(gateway: Gateway, body: Any, code: str, pointer: str) -> None:
    refused = problem(gateway.post("/api/datasets", json=body), 422, code)
    assert refused["errors"][0]["pointer"] == pointer
    assert "secret" not in str(refused)


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"{", "application/json", "This is not JSON"),
        (b"\xff", "application/json", "The body is nested too deeply, or not valid JSON"),
        (b"", "application/json", "Send a JSON object"),
        (b'{"name": "x"}', "text/plain", "Send a JSON object, with Content-Type: application/json."),
    ],
)
def test_a_body_that_is_no_json_is_a_problem_too(gateway: Gateway, content: bytes, kind: str, says: str) -> None:
    response = gateway.post("/api/datasets", data=content, headers={"Content-Type": kind})
    assert problem(response, 422, "invalid_request")["detail"].startswith(says)


def test_texts_may_be_null_and_any_script(gateway: Gateway) -> None:
    dataset_id = gateway.submit("東京 🗺️", description=None, category="Ä" * 200, tile_size=None)
    dataset = gateway.get(f"/api/datasets/{dataset_id}").json()
    assert (dataset["name"], dataset["description"], dataset["category"]) == ("東京 🗺️", "", "Ä" * 200)


@pytest.mark.parametrize(
    ("method", "path", "expected", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/datasets/", 404, "not_found"),
        ("GET", "/api/datasets/custom_00000000", 404, "not_found"),
        ("GET", "/api/datasets/custom_xyz", 404, "not_found"),
        ("GET", "/api/datasets/%00%ff", 404, "not_found"),
        ("GET", "/api/datasets?limit=0", 422, "invalid_request"),
        ("GET", "/api/datasets?limit=many", 422, "invalid_request"),
        ("GET", "/api/datasets?status=done", 422, "invalid_request"),
        ("GET", "/api/datasets?category=%00", 422, "invalid_request"),
        ("GET", "/api/datasets?cursor=none", 422, "invalid_request"),
        ("PUT", "/api/datasets", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/tiles/nothing.dzi", 404, "not_found"),
        ("GET", f"/tiles/{'0' * 64}.dzi", 404, "not_found"),
    ],
)
def test_every_error_is_a_problem(gateway: Gateway, method: str, path: str, expected: int, code: str) -> None:
    problem(gateway.call(method, path), expected, code)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/datasets", {"GET", "HEAD", "POST"}),
        ("/api/datasets/custom_00000000", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/api/datasets/custom_00000000/retry", {"POST"}),
    ],
)
def test_a_wrong_method_is_told_all_right_ones(gateway: Gateway, path: str, allowed: set[str]) -> None:
    response = gateway.call("PUT", path)
    problem(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_head_is_get_without_its_body(gateway: Gateway) -> None:
    dataset_id = gateway.submit()
    for path in ("/api/datasets", f"/api/datasets/{dataset_id}", f"/api/datasets/{dataset_id}/status", "/healthz"):
        got, head = gateway.get(path), gateway.call("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.content))
    assert gateway.call("HEAD", "/api/datasets/custom_00000000").status_code == 404


def test_an_idempotency_key_makes_a_repeated_post_harmless(gateway: Gateway) -> None:
    # Given a post with a key
    body, key = {"name": "Once", "url": URL}, {"Idempotency-Key": "k" * 255}
    first = gateway.post("/api/datasets", json=body, headers=key)
    # When it is repeated, then it is the same dataset, and said to be
    again = gateway.post("/api/datasets", json=body, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    # And another body under that key is refused
    other = gateway.post("/api/datasets", json=body | {"name": "Twice"}, headers=key)
    problem(other, 422, "idempotency_key_reused")
    # And so is a key that is too long
    refused = gateway.post("/api/datasets", json=body, headers={"Idempotency-Key": "k" * 256})
    assert problem(refused, 422, "invalid_request")["errors"][0]["header"].lower() == "idempotency-key"


@pytest.mark.parametrize("outcome", ["ready", "failed"])
def test_a_post_that_prefers_to_wait_gets_the_finished_dataset(gateway: Gateway, status: Status, outcome: str) -> None:
    # Given a post that waits, and a worker that does its work meanwhile
    name = f"Awaited {outcome}"
    answers: list[requests.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            requests.post(
                f"{gateway.url}/api/datasets",
                json={"name": name, "url": f"{URL}?{outcome}"},
                headers={"Prefer": "wait=60"},
                timeout=90,
            )
        )
    )
    waiting.start()
    found: list[Any] = []
    while not found:
        found = gateway.get("/api/datasets", params={"q": name}).json()["datasets"]
    dataset_id = found[0]["dataset_id"]
    if outcome == "ready":
        make_ready(status, dataset_id, "03" * 32)
    else:
        status.begin(dataset_id, "5" * 32)
        status.fail("5" * 32, retryable=False)
    waiting.join()
    # Then the answer is the finished dataset
    (answer,) = answers
    assert answer.status_code == 201
    assert answer.json() == gateway.get(f"/api/datasets/{dataset_id}").json()
    assert answer.json()["status"] == outcome
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert answer.headers["Location"] == f"/api/datasets/{dataset_id}"


def test_a_wait_that_is_over_gets_the_usual_answer(gateway: Gateway) -> None:
    answer = gateway.post("/api/datasets", json={"name": "x", "url": URL}, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert answer.headers["Preference-Applied"] == "wait=0"


def test_a_dataset_deleted_under_a_waiting_post_is_not_found(gateway: Gateway) -> None:
    answers: list[requests.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            requests.post(
                f"{gateway.url}/api/datasets",
                json={"name": "Deleted meanwhile", "url": URL},
                headers={"Prefer": "wait=60"},
                timeout=90,
            )
        )
    )
    waiting.start()
    found: list[Any] = []
    while not found:
        found = gateway.get("/api/datasets", params={"q": "Deleted meanwhile"}).json()["datasets"]
    gateway.call("DELETE", f"/api/datasets/{found[0]['dataset_id']}")
    waiting.join()
    problem(answers[0], 404, "not_found")


def test_the_request_id_is_taken_and_returned(gateway: Gateway) -> None:
    response = gateway.get("/api/datasets/custom_00000000", headers={"X-Request-ID": "mine-1"})
    assert problem(response, 404, "not_found")["request_id"] == "mine-1"


def test_any_page_may_read(gateway: Gateway) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    response = gateway.get("/api/datasets", headers=origin)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    missing = gateway.get("/api/datasets/custom_00000000", headers=origin)
    assert missing.headers["Access-Control-Allow-Origin"] == "*"
    # And ask beforehand whether it may send If-None-Match, but not whether it may post
    asked = origin | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"}
    assert gateway.call("OPTIONS", "/api/datasets", headers=asked).status_code == 200
    asked = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert gateway.call("OPTIONS", "/api/datasets", headers=asked).status_code == 400


def test_health_and_readiness_are_told_apart(gateway: Gateway, relay: SilentRelay) -> None:
    assert gateway.get("/healthz").json() == {"status": "ok"}
    checks = {"statussvc": "ok", "storage": "ok", "broker": "ok"}
    assert gateway.get("/readyz").json() == {"status": "ok", "checks": checks}
    # When the broker is away, then work is accepted, and only late
    relay.said = away = "RabbitMQ at here:1 cannot be reached."
    try:
        response = gateway.get("/readyz")
    finally:
        relay.said = "ok"
    assert response.status_code == 200
    assert response.json() == {"status": "degraded", "checks": checks | {"broker": away}}


def test_a_storage_that_cannot_be_written_degrades(status: Status, tmp_path: Path) -> None:
    # Given a file where the storage's folder should be
    (tmp_path / "scratch").write_text("")
    with gateway_rig.serving(status.address, tmp_path) as gateway:
        readiness = gateway.get("/readyz").json()
    assert readiness["status"] == "degraded"
    assert readiness["checks"]["storage"].startswith("The storage cannot be written: ")


def test_without_statussvc_everything_says_to_come_back_and_then_works(tmp_path: Path) -> None:
    # Given a gateway whose statussvc is not there yet
    port = free_port()
    with gateway_rig.serving(f"127.0.0.1:{port}", tmp_path / "storage") as gateway:
        for method, path in [("POST", "/api/datasets"), ("GET", "/api/datasets"), ("GET", "/readyz")]:
            away = gateway.call(method, path, json={"name": "x", "url": URL} if method == "POST" else None)
            body = problem(away, 503, "service_unavailable")
            assert away.headers["Retry-After"] == "2"
        assert body["checks"]["statussvc"].startswith("statussvc cannot be reached")
        assert gateway.get("/healthz").status_code == 200
        # When it comes, then requests are answered without a restart
        with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}", port=port):
            while gateway.get("/readyz").status_code != 200:
                pass
            gateway.submit()


def test_a_public_url_makes_all_links_absolute(status: Status, tmp_path: Path) -> None:
    public = "https://tiles.example.org/base/"
    with gateway_rig.serving(status.address, tmp_path, public_url=public) as gateway:
        response = gateway.post("/api/datasets", json={"name": "x", "url": URL})
    dataset_id = response.json()["dataset_id"]
    assert response.headers["Location"] == f"https://tiles.example.org/base/api/datasets/{dataset_id}"
    assert response.json()["view_url"] == f"https://tiles.example.org/base/view/{dataset_id}"


def test_a_source_that_the_operator_allows_is_accepted(status: Status, tmp_path: Path) -> None:
    with gateway_rig.serving(status.address, tmp_path, allow_sources=("127.0.0.0/8",)) as gateway:
        gateway.submit(url="http://127.0.0.1:8000/a.jpg")
        refused = gateway.post("/api/datasets", json={"name": "x", "url": "http://10.0.0.1/a.jpg"})
    problem(refused, 422, "source_forbidden_address")


def test_readiness_says_that_jobs_find_no_room(status: Status, tmp_path: Path) -> None:
    # Given a storage that has less room than jobs leave free
    with gateway_rig.serving(status.address, tmp_path / "storage", disk_reserve_bytes=10**18) as gateway:
        readiness = gateway.get("/readyz")
    # Then requests are accepted, and it says why they will fail
    assert (readiness.status_code, readiness.json()["status"]) == (200, "degraded")
    assert "TILEWRIGHT_DISK_RESERVE_BYTES" in readiness.json()["checks"]["storage"]
