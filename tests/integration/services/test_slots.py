"""A run that is asked to give way, against a real statussvc: what it does, and what counts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import Stopped
from pipeline.run import Limits, Run, run_stage
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc import slots
from tests.support.rigs.status_rig import Status, running
from tests.support.rigs.waiting import until

WAIT_LIMIT = 30.0
"""Seconds for what takes one or two: only a broken test takes that long."""


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3", slot_seconds=0.5, retry_base_seconds=0.01) as rig:
        yield rig


def wake_up(dataset_id: str, attempt: int = 1) -> pb.WakeUp:
    return pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST)


def wait_in_queue(status: Status) -> str:
    """Another dataset, whose wake-up nobody takes."""
    dataset_id = status.create()
    status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=wake_up(dataset_id)))
    return dataset_id


def at_work(status: Status, client: StatusClient, dataset_id: str, attempt: int = 1) -> pb.CompleteStageResponse | None:
    """A run whose source sends nothing, until it is told to stop. Meanwhile another dataset waits."""

    def silent(run: Run) -> pb.IngestResult:
        waiting = wait_in_queue(status)
        assert run.stopped.wait(WAIT_LIMIT), "nobody told it to stop"
        status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=waiting))
        raise Stopped(run.stop_reason)

    limits = Limits(total=60.0, progress=60.0)
    return run_stage(client, wake_up(dataset_id, attempt), silent, stopping=threading.Event(), limits=limits)


def test_the_slowest_gives_its_stage_back_for_one_who_waits_and_is_not_blamed(
    status: Status, client: StatusClient
) -> None:
    # Given a run whose source is silent, and another that waits
    dataset_id = status.create()
    # When it is asked to give way, then it does
    assert at_work(status, client, dataset_id) is None
    seen = status.get(dataset_id)
    assert (status.state(dataset_id), seen.attempt) == ("QUEUED", 2)
    assert not seen.HasField("failure")


def test_who_has_the_whole_file_keeps_its_slot() -> None:
    run = Run("a" * 32, wake_up("custom_00000001"), pb.Grant())
    run.keep_slot()
    run.give_way()
    assert not run.stopped.is_set()


def test_what_is_begun_anew_each_time_and_had_its_longest_turn_is_too_slow_twice(
    status: Status, client: StatusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given turns that do not grow, and a source of which nothing is kept
    monkeypatch.setattr(slots, "LONGEST_TURN", 0.5)
    dataset_id = status.create()
    # When it has given way, then it counts as a try that was too slow
    at_work(status, client, dataset_id)
    seen = status.get(dataset_id)
    assert (status.state(dataset_id), seen.failure.code) == ("QUEUED", "source_too_slow")
    assert "while other downloads waited" in seen.failure.message
    # And the second is the last
    at_work(status, client, dataset_id, 2)
    assert (status.state(dataset_id), status.get(dataset_id).failure.code) == ("FAILED", "source_too_slow")


def test_with_nobody_waiting_a_silent_run_goes_on(status: Status, client: StatusClient) -> None:
    dataset_id = status.create()
    said: list[bool] = []

    def work(run: Run) -> pb.IngestResult:
        # Given a silent run, over several looks and turns: nobody stops it
        said.append(run.stopped.wait(3.0))
        # When another waits, then it is stopped
        wait_in_queue(status)
        said.append(run.stopped.wait(WAIT_LIMIT))
        raise Stopped(run.stop_reason)

    run_stage(client, wake_up(dataset_id), work, stopping=threading.Event(), limits=Limits(60.0, 60.0))
    assert said == [False, True]


def test_a_worker_that_stops_blames_nobody_whatever_was_asked_of_its_run(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run that had its longest turn and was asked to give way
    monkeypatch.setattr(slots, "LONGEST_TURN", 0.5)
    dataset_id = status.create()
    wait_in_queue(status)
    status.begin(dataset_id, "a" * 32)
    numbers = itertools.count(1)

    def is_asked() -> bool:
        beat = pb.ReportProgressRequest(run_id="a" * 32, beat_seq=next(numbers))
        return status.pipeline.ReportProgress(beat).give_way

    until(is_asked, "the question")
    # When its worker is stopped just then, then it is only given back
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id="a" * 32))
    assert status.state(dataset_id) == "QUEUED"
    assert not status.get(dataset_id).HasField("failure")


def test_the_slowest_of_a_host_gives_way_to_those_that_wait_for_it_and_waits_behind_them(
    status: Status, client: StatusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a silent download that can be resumed, and another one that its host refuses meanwhile
    monkeypatch.setattr(slots, "LONGEST_TURN_KEPT", 0.5)
    slow, other = status.create(), status.create()

    def silent(run: Run) -> pb.IngestResult:
        run.report(resumable=True, source_host="example.org", bytes_downloaded=1)
        until(lambda: status.get(slow).progress.bytes_downloaded == 1, "a byte")
        status.begin(other, "b" * 32)
        failure = pb.Failure(code="source_unavailable", message="It is busy.", retryable=True)
        status.pipeline.FailStage(pb.FailStageRequest(run_id="b" * 32, failure=failure, refused=True))
        assert status.get(other).hold.connections == 1
        # Then it is asked to give way, although nobody waits for a slot
        assert run.stopped.wait(WAIT_LIMIT), "nobody told it to stop"
        raise Stopped(run.stop_reason)

    run_stage(client, wake_up(slow), silent, stopping=threading.Event(), limits=Limits(60.0, 60.0))
    # And it waits for its host, behind the other, which gets the place
    seen = status.get(slow)
    assert (seen.hold.host, seen.attempt, seen.HasField("failure")) == ("example.org", 2, False)
    assert [one for one, *_ in status.pending()] == [other]
