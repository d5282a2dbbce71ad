"""Rows that wait for more than a worker: what the rows say, on both databases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from statussvc.db.repository import addresses, holds, outbox, stages, user_actions
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.repository.turns import Turns
from statussvc.db.rows import DatasetRow, Facts, Failure, Rewritten, fetch_one
from statussvc.db.tables import datasets
from statussvc.enums import Drop
from statussvc.lifecycle import Stage, State
from statussvc.policy import Policy

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)
URL = "https://example.org/earth.tif"
SHA = "ab" * 32


class Rows:
    """Datasets, and what is done with them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._numbers = itertools.count(1)

    def submit(self, url: str = URL, **fields: Any) -> str:
        return create(self.connection, NewDataset("Earth", "", "", "", url, 256, **fields), NOW)[0]

    def row(self, dataset_id: str) -> DatasetRow:
        found = fetch_one(self.connection, DatasetRow, select(datasets).where(datasets.c.dataset_id == dataset_id))
        assert found is not None
        return found

    def begin(self, dataset_id: str) -> str:
        """Begins a download; the run, or why it is not granted."""
        run_id = f"{next(self._numbers):032x}"
        wake_up = outbox.WakeUp(dataset_id, self.row(dataset_id).attempt, Stage.INGEST)
        result = stages.begin(self.connection, wake_up, run_id, "test", NOW).result
        return str(result) if isinstance(result, Drop) else run_id

    def complete(self, run_id: str) -> None:
        stages.complete_ingest(self.connection, run_id, stages.Fetched(SHA, 9, '"v1"'), NOW)

    def fail(self, run_id: str, code: str) -> None:
        stages.fail(self.connection, run_id, Failure(code, "It failed.", retryable=False), POLICY, NOW)

    def settle(self) -> None:
        holds.settle(self.connection, NOW)

    def held_by(self, *ids: str) -> list[str | None]:
        return [self.row(one).held_by for one in ids]


@pytest.fixture
def rows(engine: Engine) -> Any:
    with engine.begin() as connection:
        yield Rows(connection)


def test_those_that_wait_are_not_published_and_use_the_file_of_the_one_that_downloads(rows: Rows) -> None:
    # Given one that was posted before the download began, and one that was posted after
    first, before = rows.submit(), rows.submit()
    run = rows.begin(first)
    after = rows.submit(page=2)
    assert rows.held_by(first, before, after) == [None, first, first]
    # Then neither is published or granted
    assert outbox.lease_pending(rows.connection, 9, (), POLICY, NOW, Turns()) == []
    assert rows.begin(before) == Drop.HELD
    # When the download is complete, by a rewritten link, then both wait for the tiler, with its file and that link, and
    # each with its own pyramid
    link = Rewritten("IIIF", "https://example.org/full/max/0/default.jpg", "")
    stages.describe(rows.connection, run, Facts(rewritten=link))
    rows.complete(run)
    rows.settle()
    key = f"sources/{first}/1"
    told = [rows.row(one) for one in (before, after)]
    assert [(one.state, one.source_key, one.source_etag) for one in told] == [(State.DOWNLOADED, key, '"v1"')] * 2
    assert [one.facts.rewritten for one in told] == [link] * 2
    assert told[0].tile_id == rows.row(first).tile_id != told[1].tile_id


@pytest.mark.parametrize("code", ["page_not_found", "source_corrupted", "out_of_disk", "worker_died"])
def test_a_fault_of_the_one_that_downloads_is_not_that_of_the_others(rows: Rows, code: str) -> None:
    first, second, third = (rows.submit() for _ in range(3))
    rows.fail(rows.begin(first), code)
    rows.settle()
    # Then the oldest takes over, and the rest wait for it
    assert rows.held_by(second, third) == [None, second]
    assert [rows.row(one).state for one in (second, third)] == [State.QUEUED] * 2
    run = rows.begin(second)
    rows.complete(run)
    rows.settle()
    assert rows.row(third).source_key == f"sources/{second}/2"


def test_a_fault_of_the_url_is_that_of_all(rows: Rows) -> None:
    ids = [rows.submit() for _ in range(3)]
    rows.fail(rows.begin(ids[0]), "source_not_found")
    rows.settle()
    told = [rows.row(one) for one in ids]
    assert [(one.state, one.error_code, one.held_by) for one in told] == [(State.FAILED, "source_not_found", None)] * 3


def test_a_download_that_is_given_back_or_waits_for_a_retry_is_still_waited_for(rows: Rows) -> None:
    first, second = rows.submit(), rows.submit()
    stages.release(rows.connection, rows.begin(first), NOW)
    rows.settle()
    # Then whoever comes, whenever they are begun, waits for the one that has begun before
    third = rows.submit()
    assert rows.held_by(second, third) == [first, first]
    passing = Failure("source_timeout", "It took too long.", retryable=True)
    stages.fail(rows.connection, rows.begin(first), passing, POLICY, NOW)
    rows.settle()
    assert rows.held_by(first, second, third) == [None, first, first]


def test_who_asks_for_other_bytes_downloads_them_itself(rows: Rows) -> None:
    first, other, same = rows.submit(), rows.submit(sha256="cd" * 32), rows.submit(sha256=SHA)
    rows.complete(rows.begin(first))
    rows.settle()
    assert [rows.row(one).state for one in (other, same)] == [State.QUEUED, State.DOWNLOADED]
    assert rows.begin(other) not in list(Drop)


def test_who_gets_another_url_leaves_the_queue_of_the_old_one(rows: Rows) -> None:
    # Given one that downloads, one that waits for it, and one that gets another URL meanwhile
    first, second, third = (rows.submit() for _ in range(3))
    run = rows.begin(first)
    addresses.change(rows.connection, rows.row(third), URL + "?2")
    assert rows.held_by(third) == [None]
    # When the first is to try again, and its URL is changed
    stages.release(rows.connection, run, NOW)
    addresses.change(rows.connection, rows.row(first), URL + "?3")
    # Then the second does not get the file of the new URL, and takes over
    rows.complete(rows.begin(first))
    rows.settle()
    row = rows.row(second)
    assert (row.state, row.held_by, row.source_key) == (State.QUEUED, None, None)


def test_a_row_that_is_gone_holds_nobody(rows: Rows) -> None:
    first, second, third = (rows.submit() for _ in range(3))
    rows.begin(first)
    # Given one that is deleted, and one whose row was purged since
    user_actions.delete(rows.connection, first, NOW)
    rows.connection.execute(update(datasets).where(datasets.c.dataset_id == third).values(held_by="custom_gone"))
    rows.settle()
    assert rows.held_by(second, third) == [None, second]


def test_a_crowd_is_held_and_freed_in_batches(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "MOST_HELD", 3)
    monkeypatch.setattr(holds, "MOST_FREED", 2)
    first, *crowd = (rows.submit() for _ in range(9))
    # Given more than are held at once: the rest are held when they are begun
    run = rows.begin(first)
    assert rows.held_by(*crowd).count(first) == 3
    while None in rows.held_by(*crowd):
        waiting = next(one for one in crowd if rows.held_by(one) == [None])
        assert rows.begin(waiting) == Drop.HELD
    # When the one that downloads is cancelled, then one takes over
    user_actions.cancel(rows.connection, first, NOW)
    for _ in crowd:
        rows.settle()
    assert sorted(rows.held_by(*crowd), key=str) == [None, *[crowd[0]] * 7]
    # When that one is done, then all have its file after some calls
    assert run != rows.begin(crowd[0])
    rows.complete(rows.row(crowd[0]).run_id or "")
    for _ in crowd:
        rows.settle()
    assert {rows.row(one).source_key for one in crowd} == {f"sources/{crowd[0]}/2"}
