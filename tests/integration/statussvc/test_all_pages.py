"""Datasets of which all pages are shown: when their pages count, who keeps them, and how a lost one comes back.

On both databases.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from sqlalchemy import Engine, create_engine, update

from pipeline.pyramids import page_tile_id
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.tables import pyramids
from tests.support.rigs.status_rig import SHA, Status, code_of, running

ALL = pb.TileOptions(all_pages=True)


@pytest.fixture
def rows(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def status(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1.0)
    with running(database_url, retry_base_seconds=0.01) as rig:
        yield rig


def token(status: Status) -> str:
    return status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token


def page(number: int, width: int) -> pb.TilerResult:
    return pb.TilerResult(page=number, width=width, height=700, format=pb.TILE_FORMAT_JPEG, tile_count=30, bytes=99)


def complete(status: Status, run_id: str, *widths: int) -> int:
    first, *further = (page(number, width) for number, width in enumerate(widths))
    first.pages.extend(further)
    return status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run_id, tiler=first)).answer


def make_ready(status: Status, number: int, *widths: int) -> str:
    """A ready dataset, tiled if its pages are not built yet."""
    dataset_id = status.create(options=ALL)
    ingest, tiler = f"{number:032x}", f"{number + 4096:032x}"
    status.begin(dataset_id, ingest)
    if status.complete_ingest(ingest).HasField("next"):
        assert status.begin(dataset_id, tiler, stage=pb.STAGE_TILER).options.all_pages
        assert complete(status, tiler, *widths) == pb.ANSWER_WON
    assert status.state(dataset_id) == "READY"
    return dataset_id


def resolve(status: Status, dataset_id: str, number: int) -> pb.ResolveDatasetResponse:
    return status.users.ResolveDataset(pb.ResolveDatasetRequest(dataset_id=dataset_id, page=number))


def garbage(status: Status, *items: pb.Pyramid) -> set[str]:
    """Those of the builds that may be deleted, by their tile_ids."""
    found = [pb.StoredItem(prefix=f"pyramids/{item.tile_id}/{item.build}/") for item in items]
    request = pb.LeaseGarbageRequest(found=found, token=token(status))
    return {item.prefix.split("/")[1] for item in status.pipeline.LeaseGarbage(request).garbage}


def report(status: Status, pyramid: pb.Pyramid) -> str:
    build = pb.Build(tile_id=pyramid.tile_id, build=pyramid.build)
    return status.pipeline.ReportLostBuild(pb.ReportLostBuildRequest(build=build, token=token(status))).dataset_id


def test_the_pages_are_shown_in_order_and_each_by_its_number(status: Status) -> None:
    dataset_id = make_ready(status, 1, 10, 20, 30)
    shown = status.get(dataset_id)
    assert [(each.number, each.pyramid.width) for each in shown.pages] == [(0, 10), (1, 20), (2, 30)]
    assert shown.pyramid == shown.pages[0].pyramid
    further = [page_tile_id(shown.pyramid.tile_id, number) for number in (1, 2)]
    assert [each.pyramid.tile_id for each in shown.pages[1:]] == further
    assert shown.progress.tiles_done == shown.progress.tiles_total == 90
    for number in range(3):
        assert resolve(status, dataset_id, number).pyramid == shown.pages[number].pyramid
        request = pb.GetPyramidRequest(tile_id=shown.pages[number].pyramid.tile_id)
        assert status.users.GetPyramid(request).pyramid.width == shown.pages[number].pyramid.width
        assert shown.pages[number].pyramid.version == shown.pyramid.version > 0
    assert code_of(lambda: resolve(status, dataset_id, 3)) is grpc.StatusCode.NOT_FOUND
    assert code_of(lambda: resolve(status, dataset_id, -1)) is grpc.StatusCode.INVALID_ARGUMENT
    # In lists they are left out; before it is ready, a page is not ready either, unless there is only one
    assert not status.users.ListDatasets(pb.ListDatasetsRequest()).datasets[0].status.pages
    assert resolve(status, status.create(options=ALL), 7) == pb.ResolveDatasetResponse(state=pb.STATE_QUEUED)
    assert code_of(lambda: resolve(status, status.create(), 1)) is grpc.StatusCode.NOT_FOUND
    # Another dataset of the same file finds them built
    other = make_ready(status, 2)
    assert status.get(other).pages == shown.pages
    # What does not go together is refused
    for options in (pb.TileOptions(all_pages=True, page=0), pb.TileOptions(all_pages=True, channels=["0"])):
        assert code_of(lambda options=options: status.create(options=options)) is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[misc]


def test_a_file_of_one_page_has_one(status: Status) -> None:
    shown = status.get(make_ready(status, 1, 10))
    assert [each.number for each in shown.pages] == [0]


def test_pages_are_kept_as_long_as_a_dataset_shows_the_first(status: Status, rows: Engine) -> None:
    # Given two datasets that show the same pages, and a build of a page that does not count
    first, second = make_ready(status, 1, 10, 20), make_ready(status, 2)
    pages = [each.pyramid for each in status.get(first).pages]
    loser = pb.Pyramid(tile_id=pages[1].tile_id, build="e" * 32)
    assert garbage(status, *pages, loser) == {loser.tile_id}
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=first))
    assert garbage(status, *pages) == set()
    # When nobody shows them, and a dataset comes while only one of them is being deleted, then it does not count on it
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=second))
    with rows.begin() as connection:
        connection.execute(update(pyramids).where(pyramids.c.tile_id == pages[1].tile_id).values(deleting=True))
    third = status.create(options=ALL)
    status.begin(third, "a" * 32)
    assert status.complete_ingest("a" * 32).HasField("next")
    status.begin(third, "b" * 32, stage=pb.STAGE_TILER)
    assert complete(status, "b" * 32, 10, 20) == pb.ANSWER_WON
    shown = [each.pyramid.build for each in status.get(third).pages]
    assert shown == [pages[0].build, "b" * 32]
    # And when it is gone, all are garbage
    kept = [each.pyramid for each in status.get(third).pages]
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=third))
    assert garbage(status, *kept) == {each.tile_id for each in kept}


def test_a_page_that_is_lost_is_made_again(status: Status) -> None:
    dataset_id = make_ready(status, 1, 10, 20, 30)
    first, second, third = (each.pyramid for each in status.get(dataset_id).pages)
    # Given a page whose files are missed: the janitor looks at those of all pages
    listed = status.pipeline.ListBuilds(pb.ListBuildsRequest()).builds
    assert {build.tile_id for build in listed} == {first.tile_id, second.tile_id, third.tile_id}
    assert report(status, second) == dataset_id
    assert status.state(dataset_id) == "DOWNLOADED"
    # When its dataset is tiled again, then that page has the new build, and the others keep theirs
    status.begin(dataset_id, "c" * 32, attempt=2, stage=pb.STAGE_TILER)
    assert complete(status, "c" * 32, 10, 20, 30) == pb.ANSWER_WON
    assert [each.pyramid.build for each in status.get(dataset_id).pages] == [first.build, "c" * 32, third.build]
    assert status.state(dataset_id) == "READY"


def test_numbers_of_pages_that_do_not_rise_are_refused(status: Status) -> None:
    dataset_id = status.create(options=ALL)
    status.begin(dataset_id, "a" * 32)
    status.complete_ingest("a" * 32)
    status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
    result = page(3, 10)
    for numbers in ([3], [5, 4], [2], [-1]):
        del result.pages[:]
        result.pages.extend(page(number, 10) for number in numbers)
        request = pb.CompleteStageRequest(run_id="b" * 32, tiler=result)
        assert code_of(lambda: status.pipeline.CompleteStage(request)) is grpc.StatusCode.INVALID_ARGUMENT  # noqa: B023
    # Those of a file that begins with a label do not begin with 0
    del result.pages[:]
    result.pages.append(page(7, 20))
    status.pipeline.CompleteStage(pb.CompleteStageRequest(run_id="b" * 32, tiler=result))
    shown = status.get(dataset_id)
    assert [each.number for each in shown.pages] == [3, 7]
    assert resolve(status, dataset_id, 0).pyramid == shown.pyramid == shown.pages[0].pyramid
    assert resolve(status, dataset_id, 7).pyramid == shown.pages[1].pyramid
    assert code_of(lambda: resolve(status, dataset_id, 3)) is grpc.StatusCode.NOT_FOUND


def test_pages_of_a_run_that_was_not_asked_for_them_do_not_count(status: Status) -> None:
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)
    status.complete_ingest("a" * 32, SHA)
    status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
    assert complete(status, "b" * 32, 10, 20) == pb.ANSWER_WON
    assert not status.get(dataset_id).pages
