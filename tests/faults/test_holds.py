"""Datasets that wait for another's download, while what that download depends on dies."""

from __future__ import annotations

import threading

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import gated, sequence, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

WAITING = 3


def held(farm: Farm, url: str, by: str) -> list[str]:
    """Datasets that wait for another's download of their URL."""
    ids = [farm.submit(url) for _ in range(WAITING)]
    assert [farm.row(one)["held_by"] for one in ids] == [by] * WAITING
    return ids


@pytest.mark.parametrize("point", ["ingest_mid_download", "ingest_before_store", "ingest_before_complete"])
def test_a_worker_that_dies_leaves_nobody_waiting(
    farm: Farm, sources: SourceServer, picture: NewPicture, point: str
) -> None:
    # Given a download that is killed, once, when three more of its URL wait for it
    mark, data, gate, path = farm.ingest.arm(point), picture(), threading.Event(), f"/held-{point}.jpg"
    url = sources.on(path, sequence(gated(data, 100, gate), whole(data)))
    first = farm.submit(url)
    sources.wait_for(path)
    others = held(farm, url, first)
    gate.set()
    until(mark.exists, f"hit at {point}")
    # Then it is downloaded again by the same one, and all are ready with its file
    for one in (first, *others):
        farm.finish(one)
    expected = {one: Expected(data) for one in others}
    check_invariants(farm, {first: Expected(data, attempts=2, crashes=1), **expected})
    assert {farm.row(one)["source_key"] for one in others} == {f"sources/{first}/2"}


def test_a_download_that_ends_while_statussvc_dies_leaves_nobody_waiting(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    # Given three that wait for a download
    data, gate = picture(), threading.Event()
    url = sources.on("/held-unheard.jpg", sequence(gated(data, 100, gate), whole(data)))
    first = farm.submit(url)
    sources.wait_for("/held-unheard.jpg")
    others = held(farm, url, first)
    # When statussvc is killed, the download is completed, and the gateway with its relay is killed too
    farm.statussvc.kill()
    gate.set()
    farm.gateway.kill()
    farm.await_ready()
    # Then all are ready, with its one file
    for one in (first, *others):
        farm.finish(one)
    check_invariants(farm, {one: Expected(data) for one in (first, *others)})
    assert {farm.row(one)["source_key"] for one in others} == {f"sources/{first}/1"}
    assert sources.requests["/held-unheard.jpg"] == 1


def test_who_is_deleted_while_its_worker_dies_leaves_nobody_waiting(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    # Given three that wait for a download
    data, gate = picture(), threading.Event()
    url = sources.on("/held-deleted.jpg", sequence(gated(data, 100, gate), whole(data)))
    first = farm.submit(url)
    sources.wait_for("/held-deleted.jpg")
    others = held(farm, url, first)
    # When that one is deleted, and its worker and statussvc are killed at once
    assert farm.act("DELETE", first) == 204
    farm.ingest.kill()
    farm.statussvc.kill()
    farm.await_ready()
    # Then the oldest takes over, at the cost of another attempt, and the rest use its file
    for one in others:
        farm.finish(one)
    # It may have been at work already when its worker was killed.
    oldest = farm.row(others[0])
    assert oldest["attempt"] in (2, 3)
    taken = Expected(data, attempts=oldest["attempt"], crashes=oldest["attempt"] - 2)
    check_invariants(farm, {others[0]: taken, **{one: Expected(data) for one in others[1:]}})
    assert {farm.row(one)["source_key"] for one in others} == {f"sources/{others[0]}/{oldest['attempt']}"}
    assert pb.State.Name(farm.finish(others[0]).state) == "STATE_READY"
    gate.set()
