"""What is removed for its age, and what stays whatever its age: through the services, and on both databases."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, Table, create_engine, func, insert, select, update

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import catalogue, purge, reusable
from statussvc.db.tables import datasets, former_ids, idempotency, runs
from statussvc.lifecycle import Stage
from statussvc.settings import StatusSettings
from tests.support.rigs.status_rig import Status, code_of, running
from tests.support.rigs.waiting import until

DAY = 86400.0
LOST_AFTER = StatusSettings().lost_after_seconds
MONTH = 31 * DAY


@pytest.fixture
def rows(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def status(database_url: str, rows: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    monkeypatch.setattr("statussvc.purger.INTERVAL", 0.05)
    with running(database_url, retry_base_seconds=0.01) as rig:
        yield rig


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def age(engine: Engine, seconds: float) -> None:
    """Has all that is there been done so much earlier."""
    with engine.begin() as connection:
        for table in (datasets, runs, idempotency):
            moments = [column for column in table.c if column.name.endswith("_at")]
            connection.execute(update(table).values({column.name: column - seconds for column in moments}))


def delete(status: Status, dataset_id: str) -> None:
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))


def download(status: Status, run_id: str, **fields: Any) -> str:
    """A dataset whose download is done, by a run that a message has woken."""
    dataset_id = status.create(**fields)
    wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST)
    status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=wake_up))
    status.begin(dataset_id, run_id)
    status.complete_ingest(run_id)
    return dataset_id


def test_deleted_datasets_go_with_their_runs_after_their_time_and_nothing_else_does(
    status: Status, rows: Engine
) -> None:
    # Given more datasets that were deleted a month ago than go at once, one of two days ago, and one that lives
    for number in range(purge.BATCH + 5):
        delete(status, download(status, f"{number:032x}"))
    kept = download(status, "a" * 32)
    age(rows, MONTH - 2 * DAY)
    young = download(status, "b" * 32)
    delete(status, young)
    assert count(rows, datasets) == purge.BATCH + 7
    # When their time has come
    age(rows, 2 * DAY)
    until(lambda: count(rows, datasets) == 2, "a purge")
    # Then they are gone with their runs, and the others are not
    with rows.connect() as connection:
        assert set(connection.scalars(select(datasets.c.dataset_id))) == {kept, young}
        assert set(connection.scalars(select(runs.c.run_id))) == {"a" * 32, "b" * 32}
    assert status.state(kept) == "DOWNLOADED"
    # And what was theirs in storage is garbage, as before
    left = [f"sources/{young}/1", f"scratch/{0:032x}/", "sources/custom_00000000/1"]
    with rows.connect() as connection:
        left.append(f"sources/{connection.scalar(select(former_ids.c.dataset_id))}/1")
    found = [pb.StoredItem(prefix=prefix) for prefix in [*left, f"sources/{kept}/1"]]
    token = status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token
    request = pb.LeaseGarbageRequest(found=found, token=token)
    assert [item.prefix for item in status.pipeline.LeaseGarbage(request).garbage] == left


def test_an_id_is_never_given_twice(status: Status, rows: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a dataset that was purged
    old = status.create()
    delete(status, old)
    age(rows, MONTH)
    until(lambda: count(rows, datasets) == 0, "a purge")
    # When chance has its digits again, then another's id is longer
    digits = iter([old.removeprefix("custom_"), "0123456789ab"])
    monkeypatch.setattr(secrets, "token_hex", lambda _size: next(digits))
    assert status.create() == "custom_0123456789ab"
    assert code_of(lambda: status.get(old)) is grpc.StatusCode.NOT_FOUND
    # And the old address stays gone
    assert status.users.ResolveDataset(pb.ResolveDatasetRequest(dataset_id=old)).deleted


def test_a_wake_up_and_an_outcome_of_what_was_purged_change_nothing(status: Status, rows: Engine) -> None:
    # Given a purged dataset, whose message is still in a queue, and whose worker is still frozen
    old = status.create()
    status.begin(old, "1" * 32)
    delete(status, old)
    age(rows, MONTH)
    until(lambda: count(rows, datasets) == 0, "a purge")
    # When both come back, then there is nothing for them
    assert status.begin(old, "2" * 32) == "DROP_DELETED"
    assert status.complete_ingest("1" * 32).answer == pb.ANSWER_REFUSED
    assert status.beat("1" * 32, 9).order == pb.ReportProgressResponse.ORDER_STOP


def test_of_a_living_dataset_the_last_ended_run_stays(status: Status, rows: Engine) -> None:
    # Given a download that was given back twice, long ago, and goes on
    dataset_id = status.create()
    for attempt in (1, 2):
        status.begin(dataset_id, str(attempt) * 32, attempt=attempt)
        status.pipeline.ReleaseStage(pb.ReleaseStageRequest(run_id=str(attempt) * 32))
    status.begin(dataset_id, "3" * 32, attempt=3)
    status.beat("3" * 32, 1)
    age(rows, MONTH)
    # When it is purged, then what its forerunner has left in scratch is still known as that
    until(lambda: count(rows, runs) == 2, "a purge")
    with rows.connect() as connection:
        assert reusable.previous_download(connection, dataset_id) == "2" * 32
        assert set(connection.scalars(select(runs.c.run_id))) == {"2" * 32, "3" * 32}


def test_what_the_outbox_goes_by_stays_until_another_has_begun(status: Status, rows: Engine) -> None:
    # Given a message that was lost, and a deleted dataset whose message was published after it and has been taken
    lost = status.create()
    wake_up = pb.WakeUp(dataset_id=lost, attempt=1, stage=pb.STAGE_INGEST)
    status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=wake_up))
    age(rows, LOST_AFTER + 1)
    delete(status, download(status, "1" * 32))
    delete(status, status.create())
    # When both are a month old, and all that may go is gone
    age(rows, MONTH)
    until(lambda: count(rows, former_ids) == 1, "a purge")
    # Then what was lost is still told by it
    assert (lost, 1, pb.STAGE_INGEST) in status.pending()
    # And it goes once another's message was taken
    download(status, "2" * 32)
    until(lambda: count(rows, former_ids) == 2, "a purge")


def test_inspections_and_keys_go_after_a_day_whether_anybody_asks_or_not(status: Status, rows: Engine) -> None:
    # Given an inspection and a key of a day ago, and younger ones
    status.users.CreateInspection(pb.CreateInspectionRequest(url="https://example.org/earth.tif"))
    dataset_id = status.create(idempotency_key="old")
    age(rows, DAY + 1)
    young = status.users.CreateInspection(pb.CreateInspectionRequest(url="https://example.org/earth.tif"))
    status.create(idempotency_key="young")
    # When nobody asks for anything, then the old ones go
    until(lambda: (count(rows, idempotency), count(rows, datasets)) == (1, 3), "a purge")
    request = pb.GetInspectionRequest(inspection_id=young.inspection.inspection_id)
    assert status.users.GetInspection(request).inspection.state == pb.STATE_REQUESTED
    assert status.create(idempotency_key="old") != dataset_id


def test_a_key_is_free_after_a_day_also_where_it_was_not_purged_yet(engine: Engine) -> None:
    new = catalogue.NewDataset("Earth", "", "", "", "https://example.org/a.jpg", 256, idempotency_key="k")
    with engine.begin() as connection:
        first, _ = catalogue.create(connection, new, 0.0)
        assert catalogue.create(connection, new, DAY) == (first, True)
        again, replayed = catalogue.create(connection, new, DAY + 1)
    assert (again == first, replayed) == (False, False)


def test_a_pass_over_many_runs_that_stay_goes_on_where_it_stopped(engine: Engine) -> None:
    # Given more runs than one look takes, of datasets that live; only the one that ended last was followed by another
    new = catalogue.NewDataset("Earth", "", "", "", "https://example.org/a.jpg", 256)
    counts = {"worker": "w", "begun_at": 0.0, "bytes_downloaded": 0, "tiles_done": 0, "stage": Stage.INGEST}
    number = purge.BATCH + 10
    with engine.begin() as connection:
        for ended in range(number):
            dataset_id, _ = catalogue.create(connection, new, 0.0)
            run = {"dataset_id": dataset_id, "run_id": f"{ended:032x}", "attempt": 1, "ended_at": float(ended)}
            connection.execute(insert(runs).values(run | counts))
        later = {"dataset_id": dataset_id, "run_id": "f" * 32, "attempt": 2, "ended_at": float(number)}
        connection.execute(insert(runs).values(later | counts))
        # When it is looked twice, then the first look removes nothing, and the second that one
        removed, position = purge.overtaken_runs(connection, 1e6, purge.START, 1e6)
        assert (removed, position) == (0, (purge.BATCH - 1.0, f"{purge.BATCH - 1:032x}"))
        assert purge.overtaken_runs(connection, 1e6, position, 1e6) == (1, purge.START)


def test_nothing_is_purged_where_that_is_set(database_url: str, rows: Engine) -> None:
    with running(database_url, purge_days=0) as status:
        delete(status, status.create())
        status.users.CreateInspection(pb.CreateInspectionRequest(url="https://example.org/earth.tif"))
        age(rows, 100 * MONTH)
    # When it is started anew, and has gone over all: an inspection goes in any case
    with running(database_url, purge_days=0):
        until(lambda: count(rows, datasets) == 1, "a purge")
    assert count(rows, former_ids) == 0
    assert StatusSettings().purge_days == 30
