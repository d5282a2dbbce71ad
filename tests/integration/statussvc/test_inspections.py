"""Inspections live by the rules of datasets, and are no datasets."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import create_engine, update

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.tables import datasets
from tests.support.rigs.status_rig import Status, running

URL = "https://example.org/earth.tif"
RUN = "1" * 32
REPORT = pb.InspectionReport(
    source=pb.SourceInfo(format="tiff", width=40000, height=30000, pages=1),
    bytes=1_000_000_000_000,
    levels=17,
    tiles=24_000,
    max_zoom=8,
    ranges=True,
    fetched_bytes=90_000,
)


@pytest.fixture
def status(database_url: str) -> Iterator[Status]:
    with running(database_url, crash_limit=2, retry_limit=0) as started:
        yield started


def inspect(status: Status) -> str:
    return status.users.CreateInspection(pb.CreateInspectionRequest(url=URL)).inspection.inspection_id


def look(status: Status, inspection_id: str, wait: float = 0.0) -> pb.Inspection:
    request = pb.GetInspectionRequest(inspection_id=inspection_id, wait_seconds=wait)
    return status.users.GetInspection(request).inspection


def test_an_inspection_goes_from_its_request_to_its_report(status: Status) -> None:
    # Given an inspection, which waits on a queue of its own
    inspection_id = inspect(status)
    assert re.fullmatch("inspect_[0-9a-f]{8}", inspection_id)
    assert look(status, inspection_id).state == pb.STATE_REQUESTED
    assert status.pending() == [(inspection_id, 1, pb.STAGE_INSPECT)]
    # When a run takes it and reports
    assert status.begin(inspection_id, RUN, stage=pb.STAGE_INSPECT).url == URL
    assert look(status, inspection_id).state == pb.STATE_INSPECTING
    done = pb.CompleteStageRequest(run_id=RUN, inspect=REPORT)
    assert status.pipeline.CompleteStage(done).answer == pb.ANSWER_WON
    # Then the report is there to read, and the answer is the same when it is asked for again
    assert look(status, inspection_id).state == pb.STATE_READY
    assert look(status, inspection_id).report == REPORT
    assert status.pipeline.CompleteStage(done).answer == pb.ANSWER_WON


def test_whoever_waits_hears_of_the_end_at_once(status: Status) -> None:
    inspection_id = inspect(status)
    status.begin(inspection_id, RUN, stage=pb.STAGE_INSPECT)
    answers: list[pb.Inspection] = []
    waiting = threading.Thread(target=lambda: answers.append(look(status, inspection_id, wait=60.0)))
    waiting.start()
    status.fail(RUN, "source_not_found", retryable=False)
    waiting.join(30)
    assert [answer.failure.code for answer in answers] == ["source_not_found"]


def test_a_failure_that_may_pass_ends_it_all_the_same_and_says_that_another_may_help(status: Status) -> None:
    # Given an inspection at work
    inspection_id = inspect(status)
    status.begin(inspection_id, RUN, stage=pb.STAGE_INSPECT)
    # When its source is away for now
    status.fail(RUN, "source_unavailable", retryable=True)
    # Then whoever waits is told so at once, and nothing is left to be done
    ended = look(status, inspection_id)
    assert (ended.state, ended.failure.code, ended.failure.retryable) == (pb.STATE_FAILED, "source_unavailable", True)
    assert status.pending() == []


def test_one_that_does_not_end_in_time_is_shown_as_it_is(status: Status) -> None:
    assert look(status, inspect(status), wait=0.01).state == pb.STATE_REQUESTED


def test_a_run_that_gives_it_back_lets_another_begin(status: Status) -> None:
    inspection_id = inspect(status)
    status.begin(inspection_id, RUN, stage=pb.STAGE_INSPECT)
    status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=RUN))
    assert look(status, inspection_id).state == pb.STATE_REQUESTED
    assert status.begin(inspection_id, "2" * 32, attempt=2, stage=pb.STAGE_INSPECT).url == URL


def test_an_inspection_is_no_dataset(status: Status) -> None:
    inspection_id = inspect(status)
    assert not status.users.ListDatasets(pb.ListDatasetsRequest()).datasets
    assert not status.users.ListDatasets(pb.ListDatasetsRequest(states=[pb.STATE_REQUESTED])).datasets
    calls: list[tuple[Any, Any]] = [
        (status.users.GetDataset, pb.GetDatasetRequest(dataset_id=inspection_id)),
        (status.users.GetStatus, pb.GetStatusRequest(dataset_id=inspection_id)),
        (status.users.CancelDataset, pb.CancelDatasetRequest(dataset_id=inspection_id)),
        (status.users.DeleteDataset, pb.DeleteDatasetRequest(dataset_id=inspection_id)),
        (status.users.RetryDataset, pb.RetryDatasetRequest(dataset_id=inspection_id)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    # And no stage of a dataset can begin on it
    assert status.begin(inspection_id, RUN, stage=pb.STAGE_INGEST) == "DROP_SUPERSEDED"


def test_a_dataset_is_no_inspection(status: Status) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        look(status, status.create())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("url", ["ftp://example.org/a.jpg", "https://user:word@example.org/a.jpg", ""])
def test_a_url_that_no_source_can_have_is_refused(status: Status, url: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        status.users.CreateInspection(pb.CreateInspectionRequest(url=url))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_inspections_are_forgotten_after_a_day(status: Status, database_url: str) -> None:
    # Given one that ended a day ago, and one that is being made
    old, young = inspect(status), inspect(status)
    status.begin(old, RUN, stage=pb.STAGE_INSPECT)
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=RUN, inspect=REPORT))
    engine = create_engine(database_url)
    with engine.begin() as connection:
        then = datasets.c.created_at - 86_401
        connection.execute(update(datasets).where(datasets.c.dataset_id == old).values(created_at=then))
    engine.dispose()
    # When it is asked for, then it is gone, also where nothing has been purged since; the other is there
    with pytest.raises(grpc.RpcError) as caught:
        look(status, old)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert look(status, young).state == pb.STATE_REQUESTED
