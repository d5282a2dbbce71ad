"""Refreshes: another download beside a dataset that stays ready. On both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.rows import REFRESH_PREFIX
from statussvc.db.tables import HOST
from tests.support.rigs.status_rig import SHA, Status, code_of, running
from tests.support.rigs.waiting import until

OTHER = "cd" * 32
_runs = itertools.count(1)


@pytest.fixture
def status(database_url: str) -> Iterator[Status]:
    with running(database_url, retry_base_seconds=0.01, retry_limit=0, version_grace_seconds=0.0) as rig:
        yield rig


def run_id() -> str:
    return f"{next(_runs):032x}"


def due(status: Status) -> tuple[str, int]:
    """The one row that waits for ingest, and its attempt."""
    ((row_id, attempt, stage),) = status.pending()
    assert stage == pb.STAGE_INGEST
    return row_id, attempt


def fetch(status: Status, row_id: str, attempt: int = 1, *, sha256: str = SHA, **result: object) -> bool:
    """Plays an ingest run; returns whether the tiler has to follow."""
    run = run_id()
    assert not isinstance(status.begin(row_id, run, attempt=attempt), str)
    result = {"sha256": sha256, "bytes": 1234, "etag": '"v1"', **result}
    done = pb.CompleteStageRequest(run_id=run, ingest=pb.IngestResult(**result))  # type: ignore[arg-type]
    return status.pipeline.CompleteStage(done).HasField("next")


def tile(status: Status, row_id: str, attempt: int = 1) -> str:
    run = run_id()
    assert not isinstance(status.begin(row_id, run, attempt=attempt, stage=pb.STAGE_TILER), str)
    status.complete_tiler(run)
    return run


def make_ready(status: Status, **fields: Any) -> str:
    dataset_id = status.create(**fields)
    status.pending()
    if fetch(status, dataset_id):
        tile(status, dataset_id)
    assert status.state(dataset_id) == "READY"
    return dataset_id


def refresh(status: Status, dataset_id: str, *, force: bool = False) -> pb.DatasetStatus:
    return status.users.RefreshDataset(pb.RefreshDatasetRequest(dataset_id=dataset_id, force=force)).status


def versions(status: Status, dataset_id: str) -> list[str]:
    found = status.users.ListVersions(pb.ListVersionsRequest(dataset_id=dataset_id)).versions
    return [version.pyramid.tile_id for version in found]


def sweep(status: Status) -> list[str]:
    token = status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token
    leased = status.pipeline.LeaseGarbage(pb.LeaseGarbageRequest(token=token)).garbage
    return [item.prefix for item in leased]


def test_a_new_pyramid_takes_the_place_of_the_old_one_which_is_kept_until_it_is_swept(status: Status) -> None:
    # Given a ready dataset whose source has changed
    dataset_id = make_ready(status, name="Moon")
    before = status.get(dataset_id)
    asked = refresh(status, dataset_id)
    assert (asked.state, asked.refresh.status.state) == (pb.STATE_READY, pb.STATE_QUEUED)
    row_id, _ = due(status)
    # When the refresh is at work, then the dataset shows the old pyramid, and no list knows the refresh
    assert fetch(status, row_id, sha256=OTHER)
    during = status.get(dataset_id)
    assert (during.pyramid, during.refresh.status.state) == (before.pyramid, pb.STATE_DOWNLOADED)
    assert during.revision > asked.revision > before.revision
    for wanted in ({}, {"query": "moon"}, {"sha256": OTHER}, {"states": [pb.STATE_DOWNLOADED]}):
        listed = status.users.ListDatasets(pb.ListDatasetsRequest(**wanted)).datasets
        assert row_id not in [dataset.dataset_id for dataset in listed]
    assert code_of(lambda: status.get(row_id)) is grpc.StatusCode.NOT_FOUND
    # And once it is ready, the dataset shows the new one, and the old one is a version
    tile(status, row_id)
    after = status.get(dataset_id)
    assert after.pyramid.tile_id != before.pyramid.tile_id
    assert (after.state, after.refresh.changed, after.refresh.HasField("status")) == (pb.STATE_READY, True, False)
    assert after.revision > during.revision
    assert versions(status, dataset_id) == [after.pyramid.tile_id, before.pyramid.tile_id]
    old = status.users.GetPyramid(pb.GetPyramidRequest(tile_id=before.pyramid.tile_id)).pyramid
    assert old.build == before.pyramid.build
    # And the next sweep takes it, as only the present one is to be kept
    assert sweep(status) == [f"pyramids/{old.tile_id}/{old.build}/"]
    assert versions(status, dataset_id) == [after.pyramid.tile_id]


def test_as_many_versions_are_kept_as_the_operator_says_and_one_that_is_shown_again_is_none(database_url: str) -> None:
    with running(database_url, version_grace_seconds=0.0, keep_versions=2) as status:
        dataset_id = make_ready(status)
        shown = [status.get(dataset_id).pyramid.tile_id]
        for sha256 in (OTHER, "ef" * 32, OTHER):
            refresh(status, dataset_id)
            row_id, _ = due(status)
            if fetch(status, row_id, sha256=sha256):
                tile(status, row_id)
            shown.append(status.get(dataset_id).pyramid.tile_id)
            sweep(status)
        assert shown[3] == shown[1]
        assert versions(status, dataset_id) == [shown[3], shown[2]]
        # And a deleted dataset keeps none
        status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))
        assert {prefix.split("/")[1] for prefix in sweep(status)} == {shown[3], shown[2]}


def test_a_sweep_goes_on_with_the_versions_that_the_one_before_has_not_looked_at(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two replaced versions, of which one call looks at one
    monkeypatch.setattr("statussvc.db.repository.versions.LOOK", 1)
    dataset_id = make_ready(status)
    for sha256 in (OTHER, "ef" * 32):
        refresh(status, dataset_id)
        row_id, _ = due(status)
        fetch(status, row_id, sha256=sha256)
        tile(status, row_id)
    left = []
    for _ in range(2):
        sweep(status)
        left.append(len(versions(status, dataset_id)))
    assert left == [2, 1]


def test_a_source_that_its_server_confirms_needs_nothing(status: Status) -> None:
    dataset_id = make_ready(status)
    before = status.get(dataset_id)
    refresh(status, dataset_id)
    row_id, _ = due(status)
    # Given a grant by which confirming is enough
    run = run_id()
    known = status.begin(row_id, run).known
    assert (known.only_confirm, known.etag, known.sha256) == (True, '"v1"', SHA)
    result = pb.IngestResult(sha256=SHA, bytes=1234, unchanged=True)
    for _ in range(2):  # the second time as if the answer had been lost
        done = status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run, ingest=result))
        assert (done.answer, done.HasField("next")) == (pb.ANSWER_WON, False)
    # Then the dataset is as before, and says so
    after = status.get(dataset_id)
    assert (after.pyramid, after.finish_time) == (before.pyramid, before.finish_time)
    assert after.refresh.HasField("finish_time")
    assert not after.refresh.changed
    assert not after.refresh.HasField("failure")
    # And so after a server without validators has sent the same bytes
    refresh(status, dataset_id)
    row_id, _ = due(status)
    assert not fetch(status, row_id, etag="")
    assert not status.get(dataset_id).refresh.changed
    assert len(versions(status, dataset_id)) == 1


def test_a_second_request_is_the_same_refresh_and_may_force_it(status: Status) -> None:
    dataset_id = make_ready(status)
    before = status.get(dataset_id).pyramid
    refresh(status, dataset_id)
    row_id, _ = due(status)
    run = run_id()
    assert status.begin(row_id, run).known.only_confirm
    # When a second request forces it, while the first is about to find nothing new
    refresh(status, dataset_id, force=True)
    result = pb.IngestResult(sha256=SHA, bytes=1234, unchanged=True)
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run, ingest=result))
    # Then the same refresh downloads without a condition, and builds the pyramid under its address once more
    again, attempt = due(status)
    assert (again, attempt) == (row_id, 2)
    run = run_id()
    assert not status.begin(row_id, run, attempt=2).HasField("known")
    assert status.complete_ingest(run).HasField("next")
    build = tile(status, row_id, attempt=2)
    after = status.get(dataset_id)
    assert (after.pyramid.tile_id, after.pyramid.build) == (before.tile_id, build)
    assert after.refresh.changed
    assert before.build != build


def test_a_source_that_is_gone_leaves_the_dataset_ready_with_a_warning(status: Status) -> None:
    dataset_id = make_ready(status)
    before = status.get(dataset_id)
    refresh(status, dataset_id)
    row_id, _ = due(status)
    run = run_id()
    status.begin(row_id, run)
    assert status.fail(run, "source_not_found", retryable=False) == "ANSWER_WON"
    after = status.get(dataset_id)
    assert (after.state, after.pyramid) == (pb.STATE_READY, before.pyramid)
    assert (after.refresh.failure.code, [warning.code for warning in after.warnings]) == (
        "source_not_found",
        ["refresh_failed"],
    )
    # And the warning is gone with the next refresh that works
    refresh(status, dataset_id)
    row_id, _ = due(status)
    fetch(status, row_id)
    assert list(status.get(dataset_id).warnings) == []


def test_an_older_version_is_made_of_the_stored_original_where_the_source_is_gone(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = make_ready(status)
    before = status.get(dataset_id).pyramid
    monkeypatch.setattr("pipeline.pyramids.geometry.PYRAMID_VERSION", before.version + 1)
    assert status.get(dataset_id).pyramid.version == before.version
    refresh(status, dataset_id)
    row_id, _ = due(status)
    run = run_id()
    # Given a known file that is wanted, as a pyramid is to be made of it
    assert not status.begin(row_id, run).known.only_confirm
    status.fail(run, "source_not_found", retryable=False)
    assert status.get(dataset_id).refresh.status.state == pb.STATE_DOWNLOADED
    run = run_id()
    granted = status.begin(row_id, run, stage=pb.STAGE_TILER)
    assert granted.source_key == f"sources/{dataset_id}/1"
    status.complete_tiler(run)
    after = status.get(dataset_id)
    assert (after.pyramid.version, after.pyramid.build) == (before.version + 1, run)
    assert [warning.code for warning in after.warnings] == ["refresh_failed"]
    assert after.refresh.changed


def test_cancelling_a_ready_dataset_ends_its_refresh_only_and_deleting_it_ends_both(status: Status) -> None:
    dataset_id = make_ready(status)
    before = status.get(dataset_id).pyramid
    refresh(status, dataset_id)
    row_id, _ = due(status)
    run = run_id()
    status.begin(row_id, run)
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    # Then its run is told to stop, and what it reports counts for nothing
    assert status.beat(run, 1).order == pb.ReportProgressResponse.ORDER_STOP
    assert status.complete_ingest(run, OTHER).answer == pb.ANSWER_REFUSED
    after = status.get(dataset_id)
    assert (after.state, after.pyramid, after.refresh.failure.code) == (pb.STATE_READY, before, "cancelled")
    assert list(after.warnings) == []
    # And without a refresh there is nothing to cancel
    cancel = pb.CancelDatasetRequest(dataset_id=dataset_id)
    assert code_of(lambda: status.users.CancelDataset(cancel)) is grpc.StatusCode.FAILED_PRECONDITION
    # When it is deleted in the middle of another one, then nothing waits or works any more
    refresh(status, dataset_id)
    row_id, _ = due(status)
    run = run_id()
    status.begin(row_id, run)
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))
    assert status.beat(run, 1).reason == "deleted"
    assert status.pending() == []
    assert status.begin(row_id, run_id()) == "DROP_DELETED"


def test_only_a_ready_dataset_is_refreshed(status: Status) -> None:
    dataset_id = status.create()
    request = pb.RefreshDatasetRequest(dataset_id=dataset_id)
    assert code_of(lambda: status.users.RefreshDataset(request)) is grpc.StatusCode.FAILED_PRECONDITION
    unknown = pb.RefreshDatasetRequest(dataset_id="custom_00000000")
    assert code_of(lambda: status.users.RefreshDataset(unknown)) is grpc.StatusCode.NOT_FOUND


def test_a_lost_pyramid_and_a_refresh_at_once_end_ready(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1.0)
    # Given a dataset in the middle of a refresh, whose pyramid is lost and made again
    dataset_id = make_ready(status)
    pyramid = status.get(dataset_id).pyramid
    refresh(status, dataset_id)
    row_id, _ = due(status)
    assert fetch(status, row_id, sha256=OTHER)
    token = status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token
    build = pb.Build(tile_id=pyramid.tile_id, build=pyramid.build)
    lost = status.pipeline.ReportLostBuild(pb.ReportLostBuildRequest(build=build, token=token))
    assert lost.dataset_id == dataset_id
    owner_run = run_id()
    status.begin(dataset_id, owner_run, attempt=2, stage=pb.STAGE_TILER)
    # When the refresh is first, then the dataset is ready with its pyramid, and the other run is of no use
    build_of_refresh = tile(status, row_id)
    after = status.get(dataset_id)
    assert (after.state, after.pyramid.build) == (pb.STATE_READY, build_of_refresh)
    assert status.complete_tiler(owner_run).answer == pb.ANSWER_REFUSED
    assert status.get(dataset_id).pyramid.build == build_of_refresh


def test_a_worker_that_dies_over_a_refresh_costs_an_attempt_and_a_restart_nothing(database_url: str) -> None:
    settings: dict[str, Any] = {"lease_seconds": 0.2, "crash_limit": 2}
    with running(database_url, **settings) as status:
        dataset_id = make_ready(status)
        refresh(status, dataset_id)
        row_id, _ = due(status)
        # Given a run whose worker was killed
        status.begin(row_id, run_id())
        assert status.get(dataset_id).refresh.status.state == pb.STATE_DOWNLOADING
        until(lambda: status.get(dataset_id).refresh.status.state == pb.STATE_QUEUED, "the expiry of the run")
    # When statussvc has been restarted meanwhile
    with running(database_url, **settings) as status:
        again, attempt = due(status)
        assert (again, attempt) == (row_id, 2)
        assert fetch(status, row_id, 2, sha256=OTHER)
        tile(status, row_id, 2)
        assert status.get(dataset_id).refresh.changed


def test_the_id_of_a_refresh_may_hold_other_rows() -> None:
    assert REFRESH_PREFIX < HOST
