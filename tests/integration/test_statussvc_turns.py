"""Slots shared by hosts, and a source that is too slow: what the rows say, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from statussvc.db.repository import inspections, outbox, stages
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.repository.turns import host_hash, waits_since
from statussvc.db.rows import Failure
from statussvc.db.tables import datasets
from statussvc.enums import Drop
from statussvc.lifecycle import Stage, State
from statussvc.policy import Policy

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)


def submitted(connection: Connection, host: str, *, published: float | None = NOW) -> str:
    """A dataset whose source lies at a host; its wake-up is in the queue, unless `published` is None."""
    url = f"https://{host}/{host}.jpg"
    dataset_id, _ = create(connection, NewDataset("Earth", "", "", "", url, 256), NOW)
    connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(published_at=published))
    return dataset_id


def begin(connection: Connection, dataset_id: str, run: str, *, stage: Stage = Stage.INGEST, attempt: int = 1) -> str:
    """What BeginStage says: "" where it grants."""
    wake_up = outbox.WakeUp(dataset_id, attempt, stage)
    row = stages.begin(connection, wake_up, run * 32, "test", NOW, in_turn=True)
    return row if isinstance(row, Drop) else ""


def row_of(connection: Connection, dataset_id: str) -> Any:
    return connection.execute(select(datasets).where(datasets.c.dataset_id == dataset_id)).one()


def test_a_host_has_no_second_slot_while_another_waits_for_its_first(engine: Engine) -> None:
    with engine.begin() as connection:
        # Given three sources of one host and one of another, in the queue
        first, second, third = (submitted(connection, "many.example") for _ in range(3))
        other = submitted(connection, "other.example")
        # When the first is at work, then the next of its host is put back, and nothing counts against it
        assert begin(connection, first, "a") == ""
        assert begin(connection, second, "b") == "DEFERRED"
        row = row_of(connection, second)
        assert (row.state, row.attempt, row.retries, row.crashes, row.published_at) == (State.QUEUED, 1, 0, 0, None)
        # And it is published again in a moment, not before
        assert outbox.lease_pending(connection, 9, (), POLICY, NOW) == []
        assert [due.dataset_id for due in outbox.lease_pending(connection, 9, (), POLICY, NOW + 5.0)] == [second]
        outbox.confirm_published(connection, outbox.WakeUp(second, 1, Stage.INGEST), NOW + 5.0)
        # And the other's begins, then the first host has all the rest
        assert begin(connection, other, "c") == ""
        assert begin(connection, second, "d") == ""
        assert begin(connection, third, "e") == ""


def test_hosts_that_wait_have_their_turn_by_how_many_of_theirs_are_at_work(engine: Engine) -> None:
    with engine.begin() as connection:
        many = [submitted(connection, "many.example") for _ in range(4)]
        few = [submitted(connection, "few.example") for _ in range(2)]
        assert [begin(connection, many[0], "a"), begin(connection, few[0], "b")] == ["", ""]
        # Given one each, then either may go on, and after that the other
        assert begin(connection, many[1], "c") == ""
        assert begin(connection, many[2], "d") == "DEFERRED"
        assert begin(connection, few[1], "e") == ""
        assert begin(connection, many[3], "f") == ""


def test_who_is_not_in_the_queue_holds_nobody_up(engine: Engine) -> None:
    with engine.begin() as connection:
        one, two = (submitted(connection, "many.example") for _ in range(2))
        # Given others that wait for their back-off, are put back, at work, or deleted
        submitted(connection, "later.example", published=None)
        deleted = submitted(connection, "deleted.example")
        connection.execute(update(datasets).where(datasets.c.dataset_id == deleted).values(deleted_at=NOW))
        # And one of before there were hosts
        old = submitted(connection, "old.example")
        connection.execute(update(datasets).where(datasets.c.dataset_id == old).values(host_hash=None))
        assert begin(connection, one, "a") == ""
        assert begin(connection, two, "b") == ""
        assert begin(connection, old, "c") == ""


def test_inspections_share_theirs_apart_from_downloads(engine: Engine) -> None:
    with engine.begin() as connection:
        download = submitted(connection, "many.example")
        assert begin(connection, download, "a") == ""
        looks = [inspections.create(connection, f"https://{host}.example/a", NOW) for host in ("many", "many", "other")]
        connection.execute(update(datasets).where(datasets.c.state == State.REQUESTED).values(published_at=NOW))
        said = [
            begin(connection, look.dataset_id, run, stage=Stage.INSPECT) for look, run in zip(looks, "bcd", strict=True)
        ]
        assert said == ["", "DEFERRED", ""]


def test_the_oldest_wake_up_tells_how_long_others_wait(engine: Engine) -> None:
    with engine.begin() as connection:
        assert waits_since(connection, Stage.INGEST) is None
        submitted(connection, "later.example", published=None)
        assert waits_since(connection, Stage.INGEST) is None
        submitted(connection, "a.example", published=NOW)
        first = submitted(connection, "b.example", published=NOW - 7.0)
        assert waits_since(connection, Stage.INGEST) == NOW - 7.0
        begin(connection, first, "a")
        assert waits_since(connection, Stage.INGEST) == NOW


@pytest.mark.parametrize(("code", "tries"), [("source_too_slow", 2), ("source_unavailable", 6)])
def test_a_source_that_is_too_slow_has_two_tries(engine: Engine, code: str, tries: int) -> None:
    with engine.begin() as connection:
        dataset_id = submitted(connection, "slow.example")
        for attempt in range(1, tries + 1):
            assert row_of(connection, dataset_id).state == State.QUEUED
            run = f"{attempt:x}"
            assert begin(connection, dataset_id, run, attempt=attempt) == ""
            stages.fail(connection, run * 32, Failure(code, "Too slow.", retryable=True), POLICY, NOW)
        row = row_of(connection, dataset_id)
        assert (row.state, row.error_code, row.attempt) == (State.FAILED, code, tries)


def test_a_stage_that_is_given_back_counts_no_try(engine: Engine) -> None:
    with engine.begin() as connection:
        dataset_id = submitted(connection, "slow.example")
        for attempt in range(1, 9):
            run = f"{attempt:x}"
            assert begin(connection, dataset_id, run, attempt=attempt) == ""
            stages.release(connection, run * 32, NOW)
        row = row_of(connection, dataset_id)
        assert (row.state, row.retries, row.crashes, row.error_code) == (State.QUEUED, 0, 0, None)


def test_hosts_are_told_apart_by_their_names_alone() -> None:
    assert host_hash("https://a.example/1") == host_hash("http://A.example:8080/2?x")
    assert host_hash("https://a.example/1") != host_hash("https://b.example/1")
    assert len(host_hash("no address")) == 16
