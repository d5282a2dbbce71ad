"""A source's URL may change where no run is at work on it; what has arrived of a link that expired is kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest
from sqlalchemy import Engine, insert, update

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import garbage
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.tables import datasets, runs
from statussvc.enums import Outcome
from statussvc.lifecycle import Stage, State
from tests.support.rigs.status_rig import Status, code_of, running

OLD, NEW = "https://example.org/scan.tif?token=old", "https://cdn.example.net/scan.tif?token=new"
NOW = 1_800_000_000.0
WEEK = 7 * 86400.0
EARTH = NewDataset("Earth", "", "", "", OLD, 256)


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with running(f"sqlite:///{tmp_path}/status.sqlite3") as started:
        yield started


@pytest.fixture
def run_ids() -> Iterator[str]:
    return (f"{number:032x}" for number in count(1))


def retry(status: Status, dataset_id: str, url: str = NEW) -> None:
    status.users.RetryDataset(pb.RetryDatasetRequest(dataset_id=dataset_id, url=url))


def change(status: Status, dataset_id: str, url: str = NEW) -> pb.Dataset:
    return status.users.UpdateDataset(pb.UpdateDatasetRequest(dataset_id=dataset_id, url=url)).dataset


def test_a_retry_takes_a_new_url_and_is_told_of_what_has_arrived(status: Status, run_ids: Iterator[str]) -> None:
    # Given a download whose link expired
    dataset_id, first, second = status.create(url=OLD), next(run_ids), next(run_ids)
    status.begin(dataset_id, first)
    header = pb.SourceInfo(format="tiff", width=4000, height=3000, pages=1)
    status.pipeline.ReportProgress(pb.ReportProgressRequest(run_id=first, beat_seq=1, source=header))
    assert status.get(dataset_id).source == header
    status.fail(first, "source_expired", retryable=False)
    # When it is retried with a new one
    retry(status, dataset_id)
    # Then the old file's header is shown no longer
    assert not status.get(dataset_id).HasField("source")
    # And the next run fetches that, and goes on from the last
    grant = status.begin(dataset_id, second, attempt=2)
    assert (grant.url, grant.resume_run_id) == (NEW, first)
    # And a finished download is found by it
    status.complete_ingest(second)
    assert status.users.GetDataset(pb.GetDatasetRequest(dataset_id=dataset_id)).dataset.url == NEW


def test_a_url_may_change_while_a_dataset_waits_and_is_used_at_once(status: Status, run_ids: Iterator[str]) -> None:
    # Given a dataset that waits for another try
    dataset_id, first = status.create(url=OLD), next(run_ids)
    status.begin(dataset_id, first)
    status.fail(first, "source_unavailable")
    assert status.get(dataset_id).HasField("retry_time")
    assert status.pending() == []
    # When its URL changes, then it waits no longer
    revision = status.get(dataset_id).revision
    assert change(status, dataset_id).url == NEW
    assert status.get(dataset_id).revision > revision
    assert not status.get(dataset_id).HasField("retry_time")
    assert status.pending() == [(dataset_id, 2, pb.STAGE_INGEST)]
    assert status.begin(dataset_id, next(run_ids), attempt=2).url == NEW


def test_a_url_that_changes_in_the_outbox_has_one_grant(status: Status, run_ids: Iterator[str]) -> None:
    # Given a dataset whose wake-up was published already
    dataset_id = status.create(url=OLD)
    (leased,) = status.pipeline.LeasePending(pb.LeasePendingRequest()).wake_ups
    status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=leased))
    # When its URL changes, then it is published once more, and the wake-up too many finds nothing
    change(status, dataset_id)
    (again,) = status.pipeline.LeasePending(pb.LeasePendingRequest()).wake_ups
    assert again == leased
    begun = [
        status.pipeline.BeginStage(pb.BeginStageRequest(wake_up=leased, run_id=next(run_ids), any_of_stage=True))
        for _ in range(2)
    ]
    assert begun[0].grant.url == NEW
    assert begun[1].drop == pb.BeginStageResponse.DROP_BUSY


@pytest.mark.parametrize("by", [change, retry])
def test_a_new_url_means_another_source(status: Status, run_ids: Iterator[str], by: object) -> None:
    # Given a dataset that failed with its source stored
    dataset_id = status.create(url=OLD)
    status.begin(dataset_id, run := next(run_ids))
    status.complete_ingest(run)
    status.begin(dataset_id, tiler := next(run_ids), stage=pb.STAGE_TILER)
    status.fail(tiler, "page_not_found", retryable=False)
    # When it is retried with a new URL, or after its URL has changed, then the old bytes are not used
    if by is change:
        change(status, dataset_id)
        retry(status, dataset_id, "")
    else:
        retry(status, dataset_id)
    assert status.state(dataset_id) == "QUEUED"
    # And with the same URL they are
    other = status.create(url=OLD)
    status.begin(other, run := next(run_ids))
    status.complete_ingest(run)
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=other))
    retry(status, other, OLD)
    assert status.state(other) == "DOWNLOADED"


def test_a_url_stays_while_a_run_is_at_work_and_when_its_pyramid_is_there(
    status: Status, run_ids: Iterator[str]
) -> None:
    dataset_id = status.create(url=OLD)

    def refused() -> None:
        assert code_of(lambda: change(status, dataset_id)) is grpc.StatusCode.FAILED_PRECONDITION
        assert code_of(lambda: retry(status, dataset_id)) is grpc.StatusCode.FAILED_PRECONDITION
        assert change(status, dataset_id, OLD).url == OLD

    status.begin(dataset_id, run := next(run_ids))
    refused()
    status.complete_ingest(run)
    refused()
    status.begin(dataset_id, run := next(run_ids), stage=pb.STAGE_TILER)
    refused()
    status.complete_tiler(run)
    refused()


@pytest.mark.parametrize("url", ["", "ftp://example.org/a.tif", "http://user:secret@example.org/", "https://a\0b/"])
def test_a_url_that_cannot_be_fetched_is_refused(status: Status, url: str) -> None:
    dataset_id = status.create(url=OLD)
    assert code_of(lambda: change(status, dataset_id, url)) is grpc.StatusCode.INVALID_ARGUMENT
    if url:
        assert code_of(lambda: retry(status, dataset_id, url)) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_retry_that_is_not_allowed_changes_no_url(status: Status) -> None:
    dataset_id = status.create(url=OLD)
    assert code_of(lambda: retry(status, dataset_id)) is grpc.StatusCode.FAILED_PRECONDITION
    assert status.users.GetDataset(pb.GetDatasetRequest(dataset_id=dataset_id)).dataset.url == OLD


@pytest.mark.parametrize(
    ("code", "keep", "kept_for"),
    [
        ("source_expired", None, WEEK),
        ("source_expired", 3600.0, 3600.0),
        ("source_expired", 0.0, 0.0),
        ("source_expired", 10 * WEEK, WEEK),
        ("source_not_found", None, 0.0),
    ],
)
def test_what_has_arrived_of_an_expired_link_is_kept_for_a_time(
    engine: Engine, code: str, keep: float | None, kept_for: float
) -> None:
    # Given a dataset that failed, and what its last run has left
    with engine.begin() as connection:
        dataset_id, _ = create(connection, EARTH, NOW - 60.0)
        values = {"state": State.FAILED, "error_code": code, "finished_at": NOW}
        connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(**values))
        run = {"run_id": "a" * 32, "dataset_id": dataset_id, "attempt": 1, "stage": Stage.INGEST, "worker": "w"}
        times = {"begun_at": NOW - 50.0, "ended_at": NOW, "outcome": Outcome.FAILED}
        connection.execute(insert(runs).values(**run, **times, bytes_downloaded=1, tiles_done=0))

    def leased(now: float) -> bool:
        with engine.begin() as connection:
            return bool(garbage.lease(connection, [f"scratch/{'a' * 32}/"], keep, now))

    # When a janitor finds it, then it stays for its time
    assert not kept_for or not leased(NOW + kept_for - 1.0)
    assert leased(NOW + kept_for)
