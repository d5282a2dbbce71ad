"""Builds whose files are gone: who makes them again, and what is ignored. On both databases."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.rigs.status_rig import SHA, Status, code_of, running

TILER = "f" * 32


@pytest.fixture
def status(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    # Given that every build is old enough to be missed
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1.0)
    with running(database_url, retry_base_seconds=0.01) as rig:
        yield rig


def token(status: Status) -> str:
    return status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token


def make_ready(status: Status, run_id: str, sha256: str = SHA) -> str:
    """A ready dataset, tiled where its pyramid is not there yet."""
    dataset_id = status.create()
    status.begin(dataset_id, run_id)
    if status.complete_ingest(run_id, sha256).HasField("next"):
        status.begin(dataset_id, run_id[::-1], stage=pb.STAGE_TILER)
        status.complete_tiler(run_id[::-1])
    assert status.state(dataset_id) == "READY"
    return dataset_id


def report(status: Status, tile_id: str, build: str) -> str:
    request = pb.ReportLostBuildRequest(build=pb.Build(tile_id=tile_id, build=build), token=token(status))
    return status.pipeline.ReportLostBuild(request).dataset_id


def listed(status: Status, **request: object) -> tuple[list[str], str]:
    answer = status.pipeline.ListBuilds(pb.ListBuildsRequest(**request))  # type: ignore[arg-type]
    return [build.tile_id for build in answer.builds], answer.next_page_token


def test_one_of_the_datasets_that_show_it_makes_it_again_and_the_others_stay(status: Status) -> None:
    # Given two datasets with the same pyramid, of which a build is missed
    datasets = {make_ready(status, "1" * 31 + "0"), make_ready(status, "2" * 31 + "0")}
    pyramid = status.get(next(iter(datasets))).pyramid
    worker = report(status, pyramid.tile_id, pyramid.build)
    # When it is told, then one of them waits for the tiler, since its original is stored
    (other,) = datasets - {worker}
    waiting = status.get(worker)
    assert (waiting.state, waiting.attempt, waiting.HasField("finish_time")) == (pb.STATE_DOWNLOADED, 2, False)
    assert status.pending() == [(worker, 2, pb.STAGE_TILER)]
    assert status.get(other).pyramid == pyramid
    # And a second report has nobody do it twice
    assert report(status, pyramid.tile_id, pyramid.build) == ""
    # And its build takes the place of the lost one, for both
    assert status.begin(worker, TILER, attempt=2, stage=pb.STAGE_TILER).tile_id == pyramid.tile_id
    assert status.complete_tiler(TILER).answer == pb.ANSWER_WON
    assert {status.get(dataset_id).pyramid.build for dataset_id in datasets} == {TILER}
    # And what is told of the old one comes too late
    assert report(status, pyramid.tile_id, pyramid.build) == ""


def test_where_one_fails_the_next_tries_and_each_comes_to_an_end(status: Status) -> None:
    datasets = {make_ready(status, "1" * 31 + "0"), make_ready(status, "2" * 31 + "0")}
    pyramid = status.get(next(iter(datasets))).pyramid
    # Given one that cannot make it again
    for run_id in ("a" * 32, "b" * 32):
        worker = report(status, pyramid.tile_id, pyramid.build)
        status.begin(worker, run_id, attempt=2, stage=pb.STAGE_TILER)
        status.fail(run_id, "decoder_crashed", retryable=False)
        assert status.state(worker) == "FAILED"
        datasets.remove(worker)
    # When the last has failed, then there is nobody left to ask
    assert datasets == set()
    assert report(status, pyramid.tile_id, pyramid.build) == ""
    assert listed(status) == ([], "")


def test_one_of_an_earlier_version_is_made_as_today_under_another_id(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two datasets whose pyramid is of an earlier version, and is lost
    datasets = {make_ready(status, "1" * 31 + "0"), make_ready(status, "2" * 31 + "0")}
    pyramid = status.get(next(iter(datasets))).pyramid
    monkeypatch.setattr("pipeline.pyramids.geometry.PYRAMID_VERSION", 1_000_000)
    # When it is made again, then not under addresses whose tiles may be kept for ever
    first = report(status, pyramid.tile_id, pyramid.build)
    granted = status.begin(first, TILER, attempt=2, stage=pb.STAGE_TILER)
    assert granted.tile_id != pyramid.tile_id
    status.complete_tiler(TILER)
    # And the other, whose tiles are still missed, goes the same way, and finds it built
    second = report(status, pyramid.tile_id, pyramid.build)
    assert {first, second} == datasets
    assert status.begin(second, "e" * 32, attempt=2, stage=pb.STAGE_TILER) == "DROP_FINISHED"
    assert {status.get(dataset_id).pyramid.build for dataset_id in datasets} == {TILER}


def test_an_original_that_is_gone_too_is_downloaded_again(status: Status) -> None:
    dataset_id = make_ready(status, "1" * 31 + "0")
    pyramid = status.get(dataset_id).pyramid
    report(status, pyramid.tile_id, pyramid.build)
    # Given a tiler that finds no original
    status.begin(dataset_id, "a" * 32, attempt=2, stage=pb.STAGE_TILER)
    status.fail("a" * 32, "source_missing")
    # Then it goes back to the download, and to the end
    assert status.begin(dataset_id, "b" * 32, attempt=3).source_key == f"sources/{dataset_id}/3"
    assert status.complete_ingest("b" * 32).HasField("next")
    status.begin(dataset_id, TILER, attempt=3, stage=pb.STAGE_TILER)
    status.complete_tiler(TILER)
    assert status.get(dataset_id).pyramid.build == TILER


def test_a_build_that_does_not_count_or_is_young_or_of_another_storage_is_not_missed(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = make_ready(status, "1" * 31 + "0")
    pyramid = status.get(dataset_id).pyramid
    build = pb.Build(tile_id=pyramid.tile_id, build=pyramid.build)
    assert report(status, pyramid.tile_id, "9" * 32) == ""
    assert report(status, "9" * 64, pyramid.build) == ""
    other = pb.ReportLostBuildRequest(build=build, token="0" * 32)
    assert code_of(lambda: status.pipeline.ReportLostBuild(other)) is grpc.StatusCode.FAILED_PRECONDITION
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", 60.0)
    assert listed(status) == ([], "")
    assert report(status, pyramid.tile_id, pyramid.build) == ""
    assert status.state(dataset_id) == "READY"


def test_builds_are_listed_page_by_page_and_only_those_that_are_shown(status: Status) -> None:
    # Given three pyramids, of which one is shown by nobody any more
    shown = []
    for digit in "123":
        dataset_id = make_ready(status, digit * 31 + "0", digit * 64)
        shown.append((status.get(dataset_id).pyramid.tile_id, dataset_id))
    tile_ids = sorted(tile_id for tile_id, _ in shown)
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dict(shown)[tile_ids[1]]))
    # When they are asked for, then each that is shown comes once
    assert listed(status) == ([tile_ids[0], tile_ids[2]], "")
    assert listed(status, page_size=2) == ([tile_ids[0]], tile_ids[1])
    assert listed(status, page_size=2, page_token=tile_ids[1]) == ([tile_ids[2]], "")
