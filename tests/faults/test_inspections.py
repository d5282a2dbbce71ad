"""Inspections on the farm: a worker of their own, whose end loses none."""

from __future__ import annotations

import threading

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import keys, sweep
from tests.faults.service import Service
from tests.support.network.answers import ranges, sequence, silent
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import LIMIT, until


@pytest.fixture
def inspector(farm: Farm) -> Service:
    """The farm's inspect worker, started."""
    worker = farm.add_worker("inspect", "ingest", module="inspect_worker", threads=2)
    worker.start()
    return worker


def ask(farm: Farm, url: str) -> str:
    """Has a source inspected; gives the inspection's path."""
    answer = farm.session.post(f"{farm.url}/api/inspections", json={"url": url}, timeout=LIMIT)
    assert answer.status_code == 202
    return str(answer.headers["Location"])


def finish(farm: Farm, path: str) -> None:
    """Waits for a report that is right; nothing of the look is left in the storage then."""
    until(lambda: farm.get(path, "status") == "ready", "a report")
    assert farm.get(path, "report", "source", "width") == 1100
    sweep(farm)
    until(lambda: not list(keys(farm, "scratch")), "an empty scratch")


def test_an_inspection_does_not_wait_behind_downloads(
    farm: Farm, inspector: Service, sources: SourceServer, picture: NewPicture
) -> None:
    # Given downloads that keep the ingest worker busy, and more that wait
    gate = threading.Event()
    busy = [farm.submit(sources.on(f"/busy-{n}.jpg", sequence(silent(gate), ranges(picture())))) for n in range(4)]
    farm.await_state(busy[0], pb.STATE_DOWNLOADING)
    # When a source is inspected
    path = ask(farm, sources.on("/looked-at.jpg", ranges(picture())))
    # Then its report is there while they wait
    until(lambda: farm.get(path, "status") == "ready", "a report")
    assert not gate.is_set()
    gate.set()
    for dataset_id in busy:
        farm.finish(dataset_id)
    sweep(farm)


def test_an_inspection_outlives_its_worker(
    farm: Farm, inspector: Service, sources: SourceServer, picture: NewPicture
) -> None:
    # Given an inspection whose source is silent at first
    url = sources.on("/waits.jpg", sequence(silent(threading.Event()), ranges(picture())))
    path = ask(farm, url)
    sources.wait_for("/waits.jpg")
    # When its worker is killed
    inspector.kill()
    # Then another run makes the report
    finish(farm, path)


def test_an_inspection_waits_for_a_worker(
    farm: Farm, sources: SourceServer, picture: NewPicture, request: pytest.FixtureRequest
) -> None:
    # Given no inspect worker, when a source is to be inspected
    path = ask(farm, sources.on("/early.jpg", ranges(picture())))
    assert farm.get(path, "status") == "queued"
    # Then it is, once there is one
    request.getfixturevalue("inspector")
    finish(farm, path)
