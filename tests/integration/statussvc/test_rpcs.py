"""statussvc over real gRPC, on SQLite and on PostgreSQL: the same tests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any, Literal

import alembic.autogenerate
import alembic.migration
import grpc
import pytest
from sqlalchemy import create_engine, text

from pipeline.channels import MAX_MESSAGE
from pipeline.errors import StatusUnavailable
from pipeline.pyramids import PYRAMID_VERSION
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.database import Database
from statussvc.db.tables import metadata
from tests.support.rigs.status_rig import SHA, Status, running

DROP_BUSY, DROP_SUPERSEDED, DROP_FINISHED = "DROP_BUSY", "DROP_SUPERSEDED", "DROP_FINISHED"


@pytest.fixture
def status(database_url: str) -> Iterator[Status]:
    with running(database_url, retry_base_seconds=0.01, retry_limit=2) as rig:
        yield rig


def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def test_a_dataset_goes_from_queued_to_ready(status: Status) -> None:
    # Given an accepted dataset
    url = "https://example.org/earth.jpg"
    dataset_id = status.create(description="blue", category="maps", subject="earth", url=url)
    assert re.fullmatch(r"custom_[0-9a-f]{8,}", dataset_id)
    assert status.pending() == [(dataset_id, 1, pb.STAGE_INGEST)]
    # When an ingest run does its stage
    grant = status.begin(dataset_id, "a" * 32)
    assert (grant.url, grant.source_key) == (url, f"sources/{dataset_id}/1")
    status.beat("a" * 32, 1, bytes_downloaded=50, bytes_total=100, stage_percent=50.0)
    seen = status.get(dataset_id)
    assert (seen.state, seen.percent, seen.progress.bytes_downloaded) == (pb.STATE_DOWNLOADING, 25.0, 50)
    answer = status.complete_ingest("a" * 32)
    # Then the tiler's wake-up is handed over, and leased, so that no relay publishes it too
    assert answer.answer == pb.ANSWER_WON
    assert answer.next == pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_TILER)
    assert status.pending() == []
    # When a tiler run does its stage
    grant = status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
    assert (grant.source_key, grant.source_sha256) == (f"sources/{dataset_id}/1", SHA)
    assert status.complete_tiler("b" * 32).answer == pb.ANSWER_WON
    # Then the dataset is ready, with the build of that run
    seen = status.get(dataset_id)
    assert (seen.state, seen.percent) == (pb.STATE_READY, 100.0)
    assert (seen.pyramid.build, seen.pyramid.max_zoom, seen.pyramid.tile_size) == ("b" * 32, 2, 256)
    pyramid = status.users.GetPyramid(pb.GetPyramidRequest(tile_id=seen.pyramid.tile_id)).pyramid
    # The version is that of a dataset's source and options, which the pyramid alone does not name
    assert seen.pyramid.version == PYRAMID_VERSION
    pyramid.version = PYRAMID_VERSION
    assert pyramid == seen.pyramid
    # And its permanent addresses show it
    assert resolve(status, dataset_id) == pb.ResolveDatasetResponse(pyramid=pyramid, state=pb.STATE_READY)


def resolve(status: Status, dataset_id: str) -> pb.ResolveDatasetResponse:
    return status.users.ResolveDataset(pb.ResolveDatasetRequest(dataset_id=dataset_id))


def test_permanent_addresses_of_what_has_no_pyramid(status: Status) -> None:
    waits, failed, deleted = status.create(), status.create(), status.create()
    inspection = status.users.CreateInspection(pb.CreateInspectionRequest(url="https://example.org/a.jpg")).inspection
    status.begin(failed, "1" * 32)
    failure = pb.Failure(code="not_an_image", message="That is a web page.")
    status.pipeline.FailStage(pb.FailStageRequest(run_id="1" * 32, failure=failure))
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=deleted))
    assert resolve(status, waits) == pb.ResolveDatasetResponse(state=pb.STATE_QUEUED)
    assert resolve(status, failed) == pb.ResolveDatasetResponse(state=pb.STATE_FAILED, failure=failure)
    assert resolve(status, deleted) == pb.ResolveDatasetResponse(deleted=True)
    # An inspection is no dataset
    for unknown in ("custom_ffffffff", inspection.inspection_id, ""):
        assert code_of(lambda unknown=unknown: resolve(status, unknown)) == grpc.StatusCode.NOT_FOUND


def test_bytes_and_options_tiled_before_are_ready_without_tiling_again(status: Status) -> None:
    first, second, third = status.create(), status.create(), status.create(options=pb.TileOptions(tile_size=512))
    status.begin(first, "1" * 32)
    status.complete_ingest("1" * 32)
    status.begin(first, "2" * 32, stage=pb.STAGE_TILER)
    # Given one that was downloaded while the first was still being tiled
    status.begin(second, "3" * 32)
    status.complete_ingest("3" * 32)
    status.complete_tiler("2" * 32)
    # When its tiler asks, Then it is told that the work is done, and the dataset is ready
    assert status.begin(second, "4" * 32, stage=pb.STAGE_TILER) == DROP_FINISHED
    assert status.state(second) == "READY"
    # And one with other options is tiled
    status.begin(third, "5" * 32)
    assert status.complete_ingest("5" * 32).HasField("next")
    # And one that is downloaded later is ready at once
    fourth = status.create()
    status.begin(fourth, "6" * 32)
    assert not status.complete_ingest("6" * 32).HasField("next")
    assert status.get(fourth).pyramid.tile_id == status.get(first).pyramid.tile_id


def test_two_builds_of_one_pyramid_end_with_one_winner(status: Status) -> None:
    first, second = status.create(), status.create()
    for dataset_id, run in ((first, "1"), (second, "2")):
        status.begin(dataset_id, run * 32)
        status.complete_ingest(run * 32)
        status.begin(dataset_id, run.replace("1", "3").replace("2", "4") * 32, stage=pb.STAGE_TILER)
    assert status.complete_tiler("3" * 32).answer == pb.ANSWER_WON
    assert status.complete_tiler("4" * 32).answer == pb.ANSWER_LOST
    assert {status.get(d).pyramid.build for d in (first, second)} == {"3" * 32}
    # The loser hears the same answer again
    assert status.complete_tiler("4" * 32).answer == pb.ANSWER_LOST


def test_a_stage_is_granted_to_one_run_only(status: Status) -> None:
    dataset_id = status.create()
    first = status.begin(dataset_id, "a" * 32)
    # A lost answer: the same run asks again and hears the same
    assert status.begin(dataset_id, "a" * 32) == first
    assert status.begin(dataset_id, "b" * 32) == DROP_BUSY
    assert status.begin(dataset_id, "b" * 32, attempt=2) == DROP_SUPERSEDED
    assert status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER) == DROP_SUPERSEDED
    assert status.begin("custom_ffffffff", "b" * 32) == "DROP_DELETED"
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    assert status.begin(dataset_id, "b" * 32) == "DROP_CANCELLED"


def test_outcomes_are_answered_alike_however_often_they_are_told(status: Status) -> None:
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)
    assert status.complete_ingest("a" * 32) == status.complete_ingest("a" * 32)
    assert status.complete_ingest("a" * 32).answer == pb.ANSWER_WON
    # Another kind of outcome of the same run changes nothing
    assert status.fail("a" * 32) == "ANSWER_REFUSED"
    assert status.complete_ingest("9" * 32).answer == pb.ANSWER_REFUSED
    assert status.state(dataset_id) == "DOWNLOADED"


def test_a_failure_that_may_pass_is_retried_and_past_the_limit_it_stays(status: Status) -> None:
    dataset_id = status.create()
    for attempt in (1, 2, 3):
        status.begin(dataset_id, str(attempt) * 32, attempt=attempt)
        assert status.fail(str(attempt) * 32) == "ANSWER_WON"
        seen = status.get(dataset_id)
        if attempt < 3:
            assert (seen.state, seen.attempt, seen.failure.code) == (
                pb.STATE_QUEUED,
                attempt + 1,
                "source_unreachable",
            )
            assert seen.HasField("retry_time")
    assert (seen.state, seen.failure.code, seen.failure.retryable) == (pb.STATE_FAILED, "source_unreachable", True)
    # A retry starts with fresh counts, as a new attempt
    status.users.RetryDataset(pb.RetryDatasetRequest(dataset_id=dataset_id))
    status.begin(dataset_id, "4" * 32, attempt=4)
    status.fail("4" * 32)
    assert status.state(dataset_id) == "QUEUED"


def test_a_permanent_failure_ends_at_once_and_a_missing_source_is_fetched_again(status: Status) -> None:
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)
    status.complete_ingest("a" * 32)
    status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
    status.fail("b" * 32, "source_missing")
    assert status.state(dataset_id) == "QUEUED"
    status.begin(dataset_id, "c" * 32, attempt=2)
    status.fail("c" * 32, "source_not_found", retryable=False)
    assert status.state(dataset_id) == "FAILED"
    assert code_of(lambda: status.fail("c" * 32, "no_such_code")) == grpc.StatusCode.INVALID_ARGUMENT


def test_a_retry_takes_up_a_finished_download(status: Status) -> None:
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)
    status.complete_ingest("a" * 32)
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    answer = status.users.RetryDataset(pb.RetryDatasetRequest(dataset_id=dataset_id)).status
    assert (answer.state, answer.attempt) == (pb.STATE_DOWNLOADED, 2)
    retry = pb.RetryDatasetRequest(dataset_id=dataset_id)
    assert code_of(lambda: status.users.RetryDataset(retry)) == grpc.StatusCode.FAILED_PRECONDITION


def test_a_retry_fetches_anew_what_was_at_fault_itself(status: Status) -> None:
    # Given a stored source that turned out to be damaged
    dataset_id = status.create()
    status.begin(dataset_id, "a" * 32)
    status.complete_ingest("a" * 32)
    status.begin(dataset_id, "b" * 32, stage=pb.STAGE_TILER)
    status.fail("b" * 32, "image_truncated", retryable=False)
    # When it is retried, Then it is downloaded again, and the damaged bytes are garbage
    answer = status.users.RetryDataset(pb.RetryDatasetRequest(dataset_id=dataset_id)).status
    assert (answer.state, answer.attempt) == (pb.STATE_QUEUED, 2)
    found = pb.LeaseGarbageRequest(found=[pb.StoredItem(prefix=f"sources/{dataset_id}/1")])
    assert len(status.pipeline.LeaseGarbage(found).garbage) == 1


def test_cancel_and_delete_stop_the_run_at_its_next_beat(status: Status) -> None:
    cancelled, deleted = status.create(), status.create()
    status.begin(cancelled, "c" * 32)
    status.begin(deleted, "d" * 32)
    status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=cancelled))
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=deleted))
    for run, reason in (("c", "cancelled"), ("d", "deleted")):
        answer = status.beat(run * 32, 1)
        assert (answer.order, answer.reason) == (pb.ReportProgressResponse.ORDER_STOP, reason)
        assert status.complete_ingest(run * 32).answer == pb.ANSWER_REFUSED
    assert status.get(cancelled).failure.code == "cancelled"
    assert code_of(lambda: status.get(deleted)) == grpc.StatusCode.NOT_FOUND
    again = pb.DeleteDatasetRequest(dataset_id=deleted)
    assert code_of(lambda: status.users.DeleteDataset(again)) == grpc.StatusCode.NOT_FOUND


def test_a_released_stage_waits_again_and_nothing_counts_against_it(status: Status) -> None:
    dataset_id = status.create()
    for attempt in range(1, 31):
        run_id = f"{attempt:032x}"
        status.begin(dataset_id, run_id, attempt=attempt)
        answer = status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=run_id))
        assert answer.answer == pb.ANSWER_WON
    assert (status.state(dataset_id), status.get(dataset_id).attempt) == ("QUEUED", 31)
    assert status.pending() == [(dataset_id, 31, pb.STAGE_INGEST)]


def test_a_silent_worker_loses_its_stage_and_three_fail_the_dataset(database_url: str) -> None:
    with running(database_url, lease_seconds=0.5) as status:
        dataset_id = status.create()
        for attempt in (1, 2, 3):
            # Given a run that never beats, When its lease expires
            states = watch_until(status, dataset_id, lambda s, n=attempt: s.attempt > n or s.state == pb.STATE_FAILED)
            status.begin(dataset_id, str(attempt) * 32, attempt=attempt)
            last = states()
        # Then the third crash ends it, and a woken worker is refused
        assert (last.state, last.failure.code) == (pb.STATE_FAILED, "worker_died")
        assert status.complete_ingest("3" * 32).answer == pb.ANSWER_REFUSED


def watch_until(status: Status, dataset_id: str, done: Any) -> Any:
    """Watches in the background; the returned function waits for the first status that is `done`."""
    seen: list[pb.DatasetStatus] = []
    stream = status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id), timeout=30)

    def follow() -> None:
        for response in stream:
            seen.append(response.status)
            if done(response.status):
                stream.cancel()
                return

    thread = threading.Thread(target=follow)
    thread.start()

    def wait() -> pb.DatasetStatus:
        thread.join(30)
        assert done(seen[-1]), seen
        return seen[-1]

    return wait


def test_a_watch_gives_the_present_status_at_once_then_changes_to_the_end(status: Status) -> None:
    dataset_id = status.create()
    stream = status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id), timeout=30)
    revisions = [next(stream).status.revision]
    status.begin(dataset_id, "a" * 32)
    revisions.append(next(stream).status.revision)
    status.beat("a" * 32, 1, bytes_downloaded=1)
    revisions.append(next(stream).status.revision)
    status.fail("a" * 32, "not_an_image", retryable=False)
    rest = [response.status for response in stream]
    assert rest[-1].state == pb.STATE_FAILED
    revisions += [one.revision for one in rest]
    assert revisions == sorted(set(revisions))


def test_a_restart_keeps_runs_outcomes_and_rising_revisions(database_url: str) -> None:
    with running(database_url) as status:
        done, working = status.create(), status.create()
        status.begin(done, "a" * 32)
        status.complete_ingest("a" * 32)
        status.begin(working, "b" * 32)
        status.beat("b" * 32, 7, bytes_downloaded=70, bytes_total=100, stage_percent=70.0)
        before = status.get(working)
    with running(database_url) as status:
        # Until the run is heard of, or two seconds have passed, nobody is told of it: its counts may be old.
        after = status.get(working)
        assert (after.state, after.progress.bytes_downloaded, after.percent) == (pb.STATE_DOWNLOADING, 70, 35.0)
        assert after.revision > before.revision
        # The run goes on beating and completes; a repeated outcome hears its old answer
        assert status.beat("b" * 32, 8).order == pb.ReportProgressResponse.ORDER_CONTINUE
        assert status.complete_ingest("b" * 32).answer == pb.ANSWER_WON
        answer = status.complete_ingest("a" * 32)
        assert (answer.answer, answer.next.dataset_id) == (pb.ANSWER_WON, done)


@pytest.mark.parametrize("how", ["released", "expired"])
def test_the_embedded_stack_abandons_its_dead_runs_at_start(
    database_url: str, how: Literal["released", "expired"]
) -> None:
    with running(database_url) as status:
        working, waiting = status.create(), status.create()
        status.begin(working, "a" * 32)
        for dataset_id, attempt, stage in status.pending():
            wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=stage)  # type: ignore[arg-type]
            status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=wake_up))
        assert status.pending() == []
    for attempt in (2, 3, 4):
        with running(database_url, abandon_runs=how) as status:
            # Then it is counted as what it was
            if how == "expired" and attempt == 4:
                assert status.state(working) == "FAILED"
                continue
            assert status.pending() == [(working, attempt, pb.STAGE_INGEST), (waiting, 1, pb.STAGE_INGEST)]
            status.begin(working, str(attempt) * 32, attempt=attempt)


def test_however_many_wake_ups_a_relay_asks_for_it_is_given_so_many_at_once(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statussvc.rpc.pipeline_service.MOST_PENDING", 2)
    ids = [status.create() for _ in range(3)]
    assert [due[0] for due in status.pending(limit=2_000_000_000)] == ids[:2]
    assert [due[0] for due in status.pending(limit=-1)] == ids[2:]


def test_the_catalogue_is_paged_and_filtered_newest_first(status: Status) -> None:
    maps = [status.create(name=f"Map {n}", category="maps", subject="earth") for n in range(3)]
    moon = status.create(name="100% Moon", description="a MOSAIC", category="space")

    def found(**request: Any) -> list[str]:
        answer = status.users.ListDatasets(pb.ListDatasetsRequest(**request))
        return [dataset.dataset_id for dataset in answer.datasets]

    assert found() == [moon, *reversed(maps)]
    assert found(category="maps") == list(reversed(maps))
    assert found(subject="earth", query="map 1") == [maps[1]]
    assert found(query="mosaic") == [moon]
    assert found(query="100%") == [moon]
    assert found(query="%") == [moon]
    assert found(states=[pb.STATE_READY]) == []
    page = status.users.ListDatasets(pb.ListDatasetsRequest(page_size=3))
    assert len(page.datasets) == 3
    rest = status.users.ListDatasets(pb.ListDatasetsRequest(page_size=3, page_token=page.next_page_token))
    assert [dataset.dataset_id for dataset in rest.datasets] == [maps[0]]
    assert rest.next_page_token == ""
    assert code_of(lambda: found(page_token="x")) == grpc.StatusCode.INVALID_ARGUMENT


def test_texts_can_be_changed_and_the_rest_stays(status: Status) -> None:
    dataset_id = status.create(description="old", category="maps")
    request = pb.UpdateDatasetRequest(dataset_id=dataset_id, name="New", description="")
    changed = status.users.UpdateDataset(request).dataset
    assert (changed.name, changed.description, changed.category) == ("New", "", "maps")
    bad = pb.UpdateDatasetRequest(dataset_id=dataset_id, name=" ")
    assert code_of(lambda: status.users.UpdateDataset(bad)) == grpc.StatusCode.INVALID_ARGUMENT


def test_an_idempotency_key_gives_the_first_dataset_again_or_is_refused(status: Status) -> None:
    first = status.create(idempotency_key="k")
    assert status.create(idempotency_key="k") == first
    assert code_of(lambda: status.create(name="Other", idempotency_key="k")) == grpc.StatusCode.ALREADY_EXISTS
    assert status.create(idempotency_key="l") != first


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"description": "x" * 10_001},
        {"category": "x" * 201},
        {"url": "ftp://example.org/a.jpg"},
        {"url": "http://user:secret@example.org/a.jpg"},
        {"options": pb.TileOptions(tile_size=300)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_malformed_dataset_is_refused(status: Status, fields: dict[str, Any]) -> None:
    assert code_of(lambda: status.create(**fields)) == grpc.StatusCode.INVALID_ARGUMENT


def test_the_key_of_a_deleted_dataset_is_free_again(status: Status) -> None:
    first = status.create(idempotency_key="k")
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=first))
    second = status.create(idempotency_key="k")
    assert second != first
    assert status.create(idempotency_key="k") == second


def test_a_page_ends_before_it_is_too_large(status: Status) -> None:
    # Given datasets with the longest texts, of which 60 make more than two megabytes
    earlier = status.create()
    created = [status.create(description="\N{WORLD MAP}" * 10_000) for _ in range(60)]
    # When they are listed, or searched for, in pages of 200
    for query in ("", "\N{WORLD MAP}" * 3):
        listed, token, pages = [], "", 0
        while earlier not in listed and (token or not pages):
            wanted = pb.ListDatasetsRequest(page_size=200, page_token=token, query=query)
            page = status.users.ListDatasets(wanted)
            assert page.ByteSize() < 2**20 + 1000
            listed += [dataset.dataset_id for dataset in page.datasets]
            token, pages = page.next_page_token, pages + 1
        # Then every page is below a megabyte, and together they have each dataset once
        assert pages > 2
        assert [one for one in listed if one in created] == created[::-1]
    assert MAX_MESSAGE > 2**21


def test_garbage_is_what_no_row_refers_to(status: Status) -> None:
    # Given a ready dataset, one at work, and leftovers
    ready, working = status.create(), status.create(options=pb.TileOptions(tile_size=512))
    status.begin(ready, "1" * 32)
    status.complete_ingest("1" * 32)
    status.begin(ready, "2" * 32, stage=pb.STAGE_TILER)
    status.complete_tiler("2" * 32)
    status.begin(working, "3" * 32)
    tile_id = status.get(ready).pyramid.tile_id
    kept = [f"sources/{ready}/1", f"sources/{working}/1", f"pyramids/{tile_id}/{'2' * 32}/", f"scratch/{'3' * 32}/"]
    left = [
        f"sources/{ready}/2",
        "sources/custom_ffffffff/1",
        f"pyramids/{tile_id}/{'9' * 32}/",
        f"scratch/{'1' * 32}/",
    ]

    def lease(prefixes: list[str]) -> list[str]:
        request = pb.LeaseGarbageRequest(found=[pb.StoredItem(prefix=prefix) for prefix in prefixes])
        return [item.prefix for item in status.pipeline.LeaseGarbage(request).garbage]

    # Then only the leftovers are leased, and to one janitor only
    assert lease([*kept, *left, "elsewhere/x"]) == left
    assert lease([*kept, *left]) == []
    # When the dataset is deleted, Then its pyramid and its source are garbage, and the pyramid is served no more
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=ready))
    assert lease(kept) == [kept[0], kept[2]]
    gone = pb.GetPyramidRequest(tile_id=tile_id)
    assert code_of(lambda: status.users.GetPyramid(gone)) == grpc.StatusCode.NOT_FOUND
    # And a build that comes while the old one is being deleted takes its place, and outlives the old one's end
    again = status.create()
    status.begin(again, "4" * 32)
    assert status.complete_ingest("4" * 32).HasField("next")
    status.begin(again, "5" * 32, stage=pb.STAGE_TILER)
    assert status.complete_tiler("5" * 32).answer == pb.ANSWER_WON
    item = pb.StoredItem(prefix=kept[2])
    status.pipeline.ConfirmGarbage(pb.ConfirmGarbageRequest(item=item))
    assert status.get(again).pyramid.build == "5" * 32


def test_the_schema_that_migrations_make_is_the_tables(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    database.migrate()  # again: no change
    database.close()
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = alembic.migration.MigrationContext.configure(connection, opts={"include_object": is_comparable})
        assert alembic.autogenerate.compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_newer_versions_database_is_named_and_left_as_it_is(database_url: str) -> None:
    # Given a database on which a migration has been made that this version does not know
    database = Database(database_url)
    database.migrate()
    database.close()
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    # When this version starts on it, then it says so
    older = Database(database_url)
    with pytest.raises(StatusUnavailable, match="newer version of Tilewright"):
        older.migrate()
    older.close()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()


def is_comparable(item: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
    """Whether Alembic can compare it: SQLite's index of texts is a virtual table, and PostgreSQL's is PostgreSQL's."""
    return not name.startswith("dataset_grams") and not (name == "ix_dataset_texts_grams" and not reflected)
