"""What harvesters read: each change once, in order, whichever way a dataset became ready. On both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator

import alembic.command
import alembic.config
import grpc
import pytest
from sqlalchemy import Engine, create_engine, delete, func, insert, select, text, update

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.database import MIGRATIONS
from statussvc.db.repository import changes as repository
from statussvc.db.tables import changes
from statussvc.enums import Change
from tests.support.rigs.status_rig import SHA, Status, code_of, running
from tests.support.rigs.waiting import until

NAMES = {pb.CHANGE_TYPE_CREATE: "Create", pb.CHANGE_TYPE_UPDATE: "Update", pb.CHANGE_TYPE_DELETE: "Delete"}


@pytest.fixture
def rows(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def status(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1.0)
    monkeypatch.setattr("statussvc.purger.INTERVAL", 0.05)
    with running(database_url, retry_base_seconds=0.01) as rig:
        yield rig


def page(status: Status, number: int | None) -> pb.ListChangesResponse:
    return status.users.ListChanges(pb.ListChangesRequest(page=number))


def told(status: Status) -> list[tuple[str, str]]:
    """All changes, as a harvester walks them: from the newest page to the oldest."""
    found: list[tuple[str, str]] = []
    number: int | None = page(status, None).last_page
    while number is not None:
        read = page(status, number)
        found = [(NAMES[change.type], change.dataset_id) for change in read.changes] + found
        number = read.previous_page if read.HasField("previous_page") else None
    return found


def run_ids(number: int) -> tuple[str, str]:
    return f"{number:032x}", f"{number + 4096:032x}"


def make_ready(status: Status, number: int, dataset_id: str, sha256: str = SHA, attempt: int = 1) -> None:
    ingest, tiler = run_ids(number)
    status.begin(dataset_id, ingest, attempt=attempt)
    if status.complete_ingest(ingest, sha256).HasField("next"):
        status.begin(dataset_id, tiler, stage=pb.STAGE_TILER, attempt=attempt)
        status.complete_tiler(tiler)
    assert status.state(dataset_id) == "READY"


def rename(status: Status, dataset_id: str, name: str) -> None:
    status.users.UpdateDataset(pb.UpdateDatasetRequest(dataset_id=dataset_id, name=name))


def remove(status: Status, dataset_id: str) -> None:
    status.users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))


def test_whichever_way_a_dataset_becomes_ready_it_is_told_once(status: Status) -> None:
    # Given one that is tiled, one whose pyramid the download finds, one whose pyramid is made while it waits for the
    # tiler, one that waits for the download of the second, one that fails, and one that is deleted before it is ready
    tiled, late, failed, given_up = (status.create() for _ in range(4))
    found, held = (status.create(url="https://example.org/same.jpg") for _ in range(2))
    status.begin(late, "a" * 32)
    status.complete_ingest("a" * 32)
    make_ready(status, 1, tiled)
    make_ready(status, 2, found)
    assert status.begin(late, "b" * 32, stage=pb.STAGE_TILER) == "DROP_FINISHED"
    status.pending()  # has those go on that wait for a download
    assert status.state(held) == "READY"
    status.begin(failed, "c" * 32)
    status.fail("c" * 32, "not_an_image", retryable=False)
    remove(status, given_up)
    remove(status, failed)
    # Then each that is ready is created, and of the others nobody hears
    created = told(status)
    assert created[0] == ("Create", tiled)
    assert sorted(created) == sorted(("Create", each) for each in (tiled, found, late, held))
    # When their texts change, then that is told; the same texts again are no change, nor are those of what is not ready
    waits = status.create()
    for dataset_id, name in ((found, "New"), (found, "New"), (waits, "Other")):
        rename(status, dataset_id, name)
    status.users.UpdateDataset(pb.UpdateDatasetRequest(dataset_id=held, tags=pb.TagList(tags=["new"])))
    assert told(status)[4:] == [("Update", found), ("Update", held)]
    # And what is deleted is told last, once
    remove(status, found)
    assert code_of(lambda: remove(status, found)) is grpc.StatusCode.NOT_FOUND
    assert told(status)[6:] == [("Delete", found)]
    # And each has its times
    all_of_them = page(status, 0).changes
    shown = status.users.GetDataset(pb.GetDatasetRequest(dataset_id=tiled)).dataset
    begin = shown.create_time.ToMicroseconds()
    assert [change.start_time.ToMicroseconds() for change in all_of_them if change.dataset_id == tiled] == [begin]
    assert not any(change.HasField("start_time") for change in all_of_them[4:])
    ends = [change.end_time.ToMicroseconds() for change in all_of_them]
    assert ends == sorted(ends)
    assert begin <= ends[0] <= ends[-1] <= time.time() * 1e6


def test_a_pyramid_that_is_made_again_is_an_update(status: Status) -> None:
    dataset_id = status.create()
    make_ready(status, 1, dataset_id)
    pyramid = status.get(dataset_id).pyramid
    token = status.pipeline.IdentifyStorage(pb.IdentifyStorageRequest(empty=False)).token
    build = pb.Build(tile_id=pyramid.tile_id, build=pyramid.build)
    status.pipeline.ReportLostBuild(pb.ReportLostBuildRequest(build=build, token=token))
    assert told(status) == [("Create", dataset_id)]
    status.begin(dataset_id, "f" * 32, attempt=2, stage=pb.STAGE_TILER)
    status.complete_tiler("f" * 32)
    assert told(status) == [("Create", dataset_id), ("Update", dataset_id)]
    # A report that is repeated after a lost answer is no other change
    status.complete_tiler("f" * 32)
    assert len(told(status)) == 2


def test_pages_stay_what_they_are_while_old_changes_go(
    status: Status, rows: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given no change at all, then there is an empty page
    assert page(status, None) == pb.ListChangesResponse()
    assert page(status, 0) == pb.ListChangesResponse()
    assert code_of(lambda: page(status, 1)) is grpc.StatusCode.NOT_FOUND
    # Given a dataset, and then more changes of others than two pages have, all of long ago
    dataset_id = status.create()
    make_ready(status, 1, dataset_id)
    with rows.begin() as connection:
        others = [
            {"dataset_id": f"custom_{number:08x}", "change": kind, "ended_at": 1000.0 + number, "overtaken": is_first}
            for number in range(2 * repository.PAGE)
            for kind, is_first in ((Change.CREATE, True), (Change.DELETE, False))
        ]
        connection.execute(insert(changes), others)
        connection.execute(update(changes).values(ended_at=1000.0))
        connection.execute(insert(changes), {**others[0], "dataset_id": "custom_young", "ended_at": time.time()})
    until(lambda: count(rows) == 2 * repository.PAGE + 2, "a purge of changes that others followed")
    # Then every page has what is left of it, and leads to the others
    last = page(status, None).last_page
    assert last == 4
    first = page(status, 0)
    assert [change.dataset_id for change in first.changes][:2] == [dataset_id, "custom_00000000"]
    assert (first.HasField("previous_page"), first.next_page) == (False, 1)
    assert [len(page(status, number).changes) for number in range(5)] == [50, 50, 50, 50, 2]
    assert [change.dataset_id for change in page(status, 4).changes] == [f"custom_{199:08x}", "custom_young"]
    # And a page of which nothing is left is passed over, and still leads on
    with rows.begin() as connection:
        connection.execute(delete(changes).where(changes.c.seq > 100, changes.c.seq <= 300))
    assert (page(status, 0).next_page, page(status, 3).previous_page) == (3, 0)
    empty = page(status, 1)
    assert (len(empty.changes), empty.previous_page, empty.next_page) == (0, 0, 3)
    # And a clock that is set back does not change the order
    monkeypatch.setattr("statussvc.db.repository.changes.time.time", lambda: 5.0)
    rename(status, dataset_id, "Another name")
    *_, before, after = page(status, 4).changes
    assert (after.dataset_id, after.end_time) == (dataset_id, before.end_time)


def test_a_dataset_that_changes_all_the_time_keeps_few_changes(status: Status, rows: Engine) -> None:
    one, other = status.create(), status.create()
    for number, dataset_id in enumerate((one, other)):
        make_ready(status, number, dataset_id)
    for number in range(3 * repository.MOST):
        rename(status, one, f"Name {number}")
    assert count(rows) == repository.MOST + 1
    assert told(status) == [("Create", other), *[("Update", one)] * repository.MOST]


def test_what_was_ready_before_harvesters_could_read_it_was_created(database_url: str, rows: Engine) -> None:
    # Given a database of the version before, with datasets that are ready, deleted and failed
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with rows.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, BEFORE)
        for number, (state, kind, deleted_at) in enumerate(
            [
                ("READY", "dataset", None),
                ("READY", "dataset", None),
                ("READY", "dataset", 9.0),
                ("FAILED", "dataset", None),
                ("READY", "inspection", None),
            ]
        ):
            values = {"n": number, "state": state, "kind": kind, "deleted_at": deleted_at}
            connection.execute(text(OLD_ROW), values)
    # When this version starts, then what is ready was created, in the order in which it was
    with running(database_url) as rig:
        first, second = page(rig, 0).changes
        assert [first.dataset_id, second.dataset_id] == ["custom_1", "custom_0"]
        assert (first.end_time.seconds, second.end_time.seconds) == (99, 100)
        assert first.start_time.seconds == 7


BEFORE = "0018"
OLD_ROW = """
INSERT INTO datasets (dataset_id, kind, expected_sha256, tile_format, tile_quality, page, name, description, category,
                      subject, url, tile_size, state, attempt, crashes, retries, revision, created_at, queued_at,
                      finished_at, deleted_at)
VALUES ('custom_' || :n, :kind, '', '', 0, 0, 'Name', '', '', '', 'https://example.org/a', 256, :state, 1, 0, 0, 1, 7,
        7, 100 - :n, :deleted_at)
"""


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(changes)) or 0
