"""Inspections from the POST to the report: a real gateway, statussvc, worker and source server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from dramatiq.brokers.stub import StubBroker

from gateway.background.relay import Relay
from ingest import inspection
from ingest.settings import IngestSettings
from pipeline.pyramids.geometry import Geometry
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import pictures
from tests.support.network import answers
from tests.support.network.sources import SourceServer, serve
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway
from tests.support.rigs.status_rig import Status
from tilewright.embedded.broker import EmbeddedBroker, Workers

WAIT = {"Prefer": "wait=60"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class House:
    """All that an inspection passes through."""

    gateway: Gateway
    status: Status
    storage: DirectoryStorage
    server: SourceServer
    settings: IngestSettings

    def inspect(self, url: str) -> dict[str, Any]:
        """An inspection, ended."""
        answer = self.gateway.post("/api/inspections", json={"url": url}, headers=WAIT)
        assert answer.status_code == 201, answer.text
        assert answer.headers["Preference-Applied"] == "wait=60"
        body: dict[str, Any] = answer.json()
        assert answer.headers["Location"] == f"/api/inspections/{body['inspection_id']}"
        assert self.gateway.get(answer.headers["Location"]).json() == body
        assert [key for key in self.storage.list_prefix("scratch") if key.rstrip("/") != "scratch"] == []
        return body


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 900 x 800 pixels and some two megabytes."""
    folder = tmp_path_factory.mktemp("files")
    noise = pictures.noise(900, 800)
    pictures.save(noise, folder / "a.jpg", "srgb", Q=100)
    pictures.save(noise, folder / "strips.tif")
    pictures.save(noise[:80, :90], folder / "small.gif")
    (folder / "page.html").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    return folder


@pytest.fixture(scope="module")
def house(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = tmp_path_factory.mktemp("house")
    storage = DirectoryStorage(place / "storage")
    settings = IngestSettings(
        allow_sources=("127.0.0.1",), storage=storage.root, max_source_bytes=2_100_000, inspect_time_limit=20.0
    )
    stopping = threading.Event()
    with (
        serve(folder) as server,
        status_rig.running(f"sqlite:///{place / 'rows.sqlite3'}") as status,
    ):
        client = StatusClient(status.address)
        broker = EmbeddedBroker()
        inspection.declare(broker, settings, client, storage, stopping)
        workers = Workers(broker, {"inspect": 2})
        relay = Relay(client, broker, queue_check_interval=60.0)
        workers.start()
        relay.start()
        with gateway_rig.serving(status.address, storage.root, relay, allow_sources=("127.0.0.1",)) as gateway:
            yield House(gateway, status, storage, server, settings)
        stopping.set()
        relay.stop()
        workers.stop(10.0)
        client.close()


def test_a_report_says_what_a_source_is_and_what_would_become_of_it(house: House) -> None:
    # Given a TIFF with its directory at the end, when it is inspected
    seen = house.inspect(house.server.url("/strips.tif"))
    # Then the report is there
    assert (seen["status"], seen["error"]) == ("ready", None)
    assert seen["finished_at"] >= seen["created_at"]
    report = seen["report"]
    assert report["source"] == {"format": "tiff", "width": 900, "height": 800, "pages": 1}
    geometry = Geometry(900, 800)
    assert (report["levels"], report["tiles"]) == (len(geometry.levels), geometry.tile_count)
    assert (report["max_zoom"], report["tile_size"]) == (2, 256)
    assert report["bytes"] > 2_100_000
    assert report["ranges"] is True
    assert report["memory_bytes"] > 60_000_000
    # And little of it was fetched
    assert 0 < report["fetched_bytes"] < 500_000
    assert house.server.requests["/strips.tif"] == 2


def test_what_would_be_refused_is_said_with_all_that_is_known(house: House) -> None:
    # Given a file that is larger than may be fetched
    refused = house.inspect(house.server.url("/strips.tif"))["report"]
    assert refused["refused"]["code"] == "source_too_large"
    assert refused["source"]["width"] == 900
    # And one that may be
    assert house.inspect(house.server.url("/small.gif"))["report"]["refused"] is None


def test_a_small_file_is_known_to_its_pages(house: House) -> None:
    report = house.inspect(house.server.url("/small.gif"))["report"]
    assert report["source"] == {"format": "gif", "width": 90, "height": 80, "pages": 1}


def test_a_web_page_would_be_refused(house: House) -> None:
    report = house.inspect(house.server.on("/page", answers.page()))["report"]
    assert report["source"] is None
    assert (report["levels"], report["tiles"], report["memory_bytes"]) == (None, None, None)
    assert report["content_type"] == "text/html; charset=utf-8"
    assert report["ranges"] is False
    assert report["refused"] == {
        "code": "not_an_image",
        "message": report["refused"]["message"],
        "retryable": False,
    }
    assert "web page" in report["refused"]["message"]


def test_an_empty_file_would_be_refused(house: House) -> None:
    report = house.inspect(house.server.on("/empty.jpg", answers.whole(b"")))["report"]
    assert "empty file" in report["refused"]["message"]


@pytest.mark.parametrize(
    ("path", "behaviour", "code", "retryable"),
    [
        ("/missing.tif", answers.status(404), "source_not_found", False),
        ("/tape.tif", answers.status(202, {"Retry-After": "600"}), "source_pending", True),
        ("/guarded.tif", answers.status(403, {"cf-mitigated": "challenge"}), "source_forbidden", False),
        ("/busy.tif", answers.status(503, {"Retry-After": "60"}), "source_unavailable", True),
        ("/away.tif", answers.redirect("http://169.254.169.254/latest"), "source_forbidden_address", False),
        ("/loop.tif", answers.endless_redirects(), "source_too_many_redirects", False),
        ("/packed.tif", answers.gzipped(b"\xff\xd8\xff" * 500, "compress"), "source_protocol_error", True),
        ("/unreadable.jpg", answers.raw(CHUNKED + b"zz\r\n\xff\xd8\xff"), "source_protocol_error", True),
        ("/lost.jpg", answers.raw(CHUNKED + b"5000\r\n\xff\xd8\xff"), "source_incomplete", True),
    ],
)
def test_what_cannot_be_looked_at_fails_at_once_with_its_reason(
    path: str, behaviour: Any, code: str, retryable: bool, house: House
) -> None:
    # Given a source that cannot be had, also one that may be had later, when it is inspected
    failed = house.inspect(house.server.on(path, behaviour))
    # Then nobody is kept waiting for another try
    assert (failed["status"], failed["report"]) == ("failed", None)
    assert (failed["error"]["code"], failed["error"]["retryable"]) == (code, retryable)


def test_a_server_without_ranges_can_be_looked_at(house: House, folder: Path) -> None:
    url = house.server.on("/plain.jpg", answers.unknown_length((folder / "a.jpg").read_bytes()))
    report = house.inspect(url)["report"]
    assert report["source"] == {"format": "jpeg", "width": 900, "height": 800, "pages": 1}
    assert (report["bytes"], report["ranges"], report["refused"]) == (None, False, None)


def test_a_source_that_says_nothing_is_left_in_time(folder: Path, tmp_path: Path) -> None:
    # Given an inspection that may take half a second, of a server that is silent
    settings = IngestSettings(allow_sources=("127.0.0.1",), storage=tmp_path / "storage", inspect_time_limit=0.5)
    broker = StubBroker(middleware=[])
    with serve(folder) as server, status_rig.running(f"sqlite:///{tmp_path / 'rows'}") as status:
        client = StatusClient(status.address)
        actor = inspection.declare(broker, settings, client, DirectoryStorage(settings.storage), threading.Event())
        request = pb.CreateInspectionRequest(url=server.on("/silent.jpg", answers.silent(threading.Event())))
        made = status.users.CreateInspection(request).inspection
        # When it is made
        actor(made.inspection_id, 1)
        # Then it ends, and says so
        ended = status.users.GetInspection(pb.GetInspectionRequest(inspection_id=made.inspection_id)).inspection
        client.close()
    broker.close()
    assert ended.state == pb.STATE_FAILED
    assert ended.failure.code == "source_timeout"
    assert "0.5 seconds" in ended.failure.message


def test_a_worker_that_is_asked_to_stop_gives_its_inspection_back(folder: Path, tmp_path: Path) -> None:
    # Given an inspection that waits for its source
    settings = IngestSettings(allow_sources=("127.0.0.1",), storage=tmp_path / "storage")
    stopping = threading.Event()
    broker = StubBroker(middleware=[])
    with serve(folder) as server, status_rig.running(f"sqlite:///{tmp_path / 'rows'}") as status:
        client = StatusClient(status.address)
        actor = inspection.declare(broker, settings, client, DirectoryStorage(settings.storage), stopping)
        request = pb.CreateInspectionRequest(url=server.on("/silent.jpg", answers.silent(threading.Event())))
        made = status.users.CreateInspection(request).inspection
        at_work = threading.Thread(target=actor, args=(made.inspection_id, 1))
        at_work.start()
        server.wait_for("/silent.jpg")
        # When the worker is asked to stop
        stopping.set()
        at_work.join(30)
        # Then another may take it
        after = status.users.GetInspection(pb.GetInspectionRequest(inspection_id=made.inspection_id)).inspection
        client.close()
    broker.close()
    assert (after.state, after.attempt) == (pb.STATE_REQUESTED, 2)


def test_without_prefer_the_answer_comes_at_once(house: House) -> None:
    # Given a source that is silent
    gate = threading.Event()
    url = house.server.on("/later.jpg", answers.silent(gate))
    # When it is to be inspected
    answer = house.gateway.post("/api/inspections", json={"url": url})
    # Then the answer says where to ask
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "success": True,
        "inspection_id": body["inspection_id"],
        "status": "processing",
        "message": "Inspecting the source",
        "inspection_url": f"/api/inspections/{body['inspection_id']}",
    }
    assert answer.headers["Location"] == body["inspection_url"]
    now = house.gateway.get(body["inspection_url"])
    assert now.json()["status"] in {"queued", "processing"}
    assert (now.json()["report"], now.json()["error"], now.json()["finished_at"]) == (None, None, None)
    assert now.headers["Retry-After"] == "1"
    # And with a wait that is too short it is the same answer
    short = house.gateway.post("/api/inspections", json={"url": url}, headers={"Prefer": "wait=0"})
    assert (short.status_code, short.json()["status"]) == (202, "processing")
    gate.set()


def _problem(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_what_is_no_inspection_is_answered_with_a_problem(house: House) -> None:
    post, get = house.gateway.post, house.gateway.get
    assert _problem(get("/api/inspections/inspect_00000000")) == (404, "not_found")
    assert _problem(get("/api/inspections/custom_00000000")) == (404, "not_found")
    assert _problem(post("/api/inspections", json={})) == (422, "invalid_request")
    assert _problem(post("/api/inspections", json={"url": "ftp://example.org/a"})) == (422, "source_invalid_url")
    assert _problem(post("/api/inspections", json={"url": "http://u:p@example.org/a"})) == (422, "source_invalid_url")
    refused = post("/api/inspections", json={"url": "http://10.0.0.1/a.tif"})
    assert _problem(refused) == (422, "source_forbidden_address")
    assert refused.json()["errors"][0]["pointer"] == "/url"


def test_an_inspection_is_in_no_catalogue(house: House) -> None:
    house.inspect(house.server.url("/small.gif"))
    assert house.gateway.get("/api/datasets").json()["datasets"] == []
