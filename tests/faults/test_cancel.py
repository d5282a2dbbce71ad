"""Cancel and delete reach what is blocked, and leave nothing of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants, children, keys
from tests.faults.names import deaf_name_service
from tests.support.network.answers import gated, sequence, silent, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

AT_ONCE = 10.0
"""Seconds. A second is promised; the machine may be busy; whatever else ends such a run takes a minute or more."""

CANCELLED = Expected(state=pb.STATE_CANCELLED, code="cancelled")


def cancel(farm: Farm, dataset_id: str) -> None:
    """Cancels a run that is blocked; returns once nothing of it is left."""
    asked = time.monotonic()
    assert farm.act("POST", dataset_id, "/cancel") == 200
    until(lambda: not list(keys(farm, "scratch")), "an empty scratch", AT_ONCE)
    until(lambda: not list(children(farm)), "the end of the child", AT_ONCE - (time.monotonic() - asked))
    farm.finish(dataset_id)
    # What is over cannot be cancelled.
    assert farm.act("POST", dataset_id, "/cancel") == 409


@pytest.mark.parametrize("blocked_in", ["headers", "body"])
def test_a_download_that_is_blocked_is_cancelled_at_once(
    farm: Farm, sources: SourceServer, picture: NewPicture, blocked_in: str
) -> None:
    data, gate = picture(), threading.Event()
    path = f"/cancel-{blocked_in}.jpg"
    first = silent(gate) if blocked_in == "headers" else gated(data, 300_000, gate)
    # Given a download that is blocked
    dataset_id = farm.submit(sources.on(path, sequence(first, whole(data))))
    sources.wait_for(path)
    farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    until(lambda: list(keys(farm, "scratch")), "a download at work")
    # When it is cancelled, then it ends, and nothing of it is left
    cancel(farm, dataset_id)
    check_invariants(farm, {dataset_id: CANCELLED})
    assert list(keys(farm, f"sources/{dataset_id}")) == []
    # And a retry starts it anew
    assert farm.act("POST", dataset_id, "/retry") == 202
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data, attempts=2)})


def test_a_look_up_of_a_name_that_is_blocked_is_cancelled_at_once(farm: Farm, tmp_path: Path) -> None:
    # Given a worker whose name service does not answer
    farm.ingest.begin_anew(**deaf_name_service(tmp_path))
    dataset_id = farm.submit("http://slow.test/a.jpg")
    until((tmp_path / "slow.test").exists, "a question to the name service")
    # When the download is cancelled, then it ends
    cancel(farm, dataset_id)
    check_invariants(farm, {dataset_id: CANCELLED})


def test_a_tiling_that_is_deaf_in_c_code_is_cancelled_at_once(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data = picture()
    # Given a child that hears nothing: it is frozen, and no decoder is deafer
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    dataset_id = farm.submit(sources.on("/cancel-tiling.jpg", whole(data)))
    until(mark.exists, "a frozen child")
    # When it is cancelled, then the child is killed, and the download stays
    cancel(farm, dataset_id)
    check_invariants(farm, {dataset_id: CANCELLED})
    # And a retry takes it up
    assert farm.act("POST", dataset_id, "/retry") == 202
    farm.finish(dataset_id)
    assert sources.requests["/cancel-tiling.jpg"] == 1
    check_invariants(farm, {dataset_id: Expected(data, attempts=2)})


def test_a_dataset_may_be_deleted_in_the_middle_of_its_tiling(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    dataset_id = farm.submit(sources.on("/delete-tiling.jpg", whole(picture())))
    until(mark.exists, "a frozen child")
    # When it is deleted, then it is gone, and so is all that belonged to it
    assert farm.act("DELETE", dataset_id) == 204
    assert farm.act("DELETE", dataset_id) == 404
    until(lambda: not list(keys(farm, "scratch")), "an empty scratch", AT_ONCE)
    check_invariants(farm, {})
    assert list(keys(farm, f"sources/{dataset_id}")) == []
