"""Slots shared by hosts, and a source that is too slow: what the rows say, on both databases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from statussvc.db.repository import outbox, stages
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.repository.turns import Turns, host_hash, waits_since
from statussvc.db.rows import Failure
from statussvc.db.tables import datasets
from statussvc.enums import Drop
from statussvc.lifecycle import WAITING, Stage, State
from statussvc.policy import Policy

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)
NUMBERS = itertools.count()
ANY: Any = None
"""The handlers' context, of which they make no use."""


def submitted(connection: Connection, host: str, *, published: float | None = NOW, **columns: Any) -> str:
    """A dataset whose source lies at a host; its wake-up is in the queue, unless `published` is None."""
    url = f"https://{host}/{next(NUMBERS)}.jpg"
    dataset_id, _ = create(connection, NewDataset("Earth", "", "", "", url, 256), NOW)
    columns["published_at"] = published
    connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(**columns))
    return dataset_id


class Queue:
    """Begins what statussvc chooses, by messages that name one dataset each."""

    def __init__(self, connection: Connection, stage: Stage = Stage.INGEST, turns: Turns | None = None) -> None:
        self.connection, self.stage = connection, stage
        self.turns = turns or Turns()
        self.runs = 0

    def begin(self, named: str, *, attempt: int = 1) -> str:
        """The dataset that is begun by this one's message; or why none is."""
        self.runs += 1
        wake_up = outbox.WakeUp(named, attempt, self.stage)
        run_id = f"{self.runs:032x}"
        begun = stages.begin_next(self.connection, self.turns, wake_up, run_id, "test", POLICY, NOW)
        return str(begun.result) if isinstance(begun.result, Drop) else begun.dataset_id

    def end(self, dataset_id: str) -> None:
        """The run at work ends."""
        run_id = row_of(self.connection, dataset_id).run_id
        stages.fail(self.connection, run_id, Failure("not_an_image", "A text.", retryable=False), POLICY, NOW)


def begin(connection: Connection, dataset_id: str, run: str, *, attempt: int = 1) -> str:
    """Begins a dataset by its own message; "" where that is granted."""
    result = stages.begin(
        connection, outbox.WakeUp(dataset_id, attempt, Stage.INGEST), run * 32, "test", POLICY, NOW
    ).result
    return result if isinstance(result, Drop) else ""


def row_of(connection: Connection, dataset_id: str) -> Any:
    return connection.execute(select(datasets).where(datasets.c.dataset_id == dataset_id)).one()


STAGES = pytest.mark.parametrize(
    ("stage", "state"), [(stage, state) for state, stage in WAITING.items()], ids=[str(stage) for stage in Stage]
)


@STAGES
def test_a_host_has_no_second_slot_while_another_waits_for_its_first(
    stage: Stage, state: State, engine: Engine
) -> None:
    with engine.begin() as connection:
        # Given many of one host and, after them, one of another
        queue = Queue(connection, stage)
        many = [submitted(connection, "many.example", published=NOW + n, state=state) for n in range(5)]
        other = submitted(connection, "other.example", published=NOW + 9.0, state=state)
        # When messages of the first host arrive, then the second of them begins the other's dataset
        assert queue.begin(many[0]) == many[0]
        assert queue.begin(many[1]) == other
        # And what was not begun waits as it did
        row = row_of(connection, many[1])
        assert (row.state, row.attempt, row.retries, row.crashes, row.published_at) == (state, 1, 0, 0, NOW + 1.0)
        # And alone, the first host has all the rest, in their order, by whatever messages are left
        assert [queue.begin(one) for one in (many[2], other, many[3])] == many[1:4]


@STAGES
def test_one_slot_goes_round(stage: Stage, state: State, engine: Engine) -> None:
    with engine.begin() as connection:
        # Given a host that has the only slot, and has had it before
        queue = Queue(connection, stage)
        many = [submitted(connection, "many.example", published=NOW + n, state=state) for n in range(9)]
        for one in many[:2]:
            assert queue.begin(one) == one
            if one != many[1]:
                queue.end(one)
        # When two more hosts come, each with several
        late = [submitted(connection, f"{host}.example", published=NOW + 20.0, state=state) for host in "aabb"]
        for one in late:
            outbox.confirm_published(connection, outbox.WakeUp(one, 1, stage), NOW + 20.0, queue.turns)
        queue.end(many[1])
        # Then the next free slot is the other hosts', and all have theirs in turn
        began = []
        for one in many[2:8]:
            began.append(queue.begin(one))
            queue.end(began[-1])
        assert began == [late[0], late[2], many[2], late[1], late[3], many[3]]


def test_nobody_goes_before_those_who_wait_longer(engine: Engine) -> None:
    with engine.begin() as connection:
        # Given a host that has had a turn, and waits for the next one
        queue = Queue(connection)
        waiting = [submitted(connection, "patient.example", published=NOW + number) for number in range(2)]
        assert queue.begin(waiting[0]) == waiting[0]
        queue.end(waiting[0])
        # When new hosts come without end
        began = []
        for number in range(4):
            one = submitted(connection, f"new-{number}.example", published=NOW + 5.0 + number)
            outbox.confirm_published(connection, outbox.WakeUp(one, 1, Stage.INGEST), NOW, queue.turns)
            began.append(queue.begin(one))
            queue.end(began[-1])
        # Then it waits for those who came before its last run had ended, and for nobody else
        assert began.index(waiting[1]) == 1


def test_who_is_not_in_the_queue_holds_nobody_up(engine: Engine) -> None:
    with engine.begin() as connection:
        queue = Queue(connection)
        one, two = (submitted(connection, "many.example") for _ in range(2))
        # Given others that wait for their back-off, or are deleted
        submitted(connection, "later.example", published=None)
        submitted(connection, "deleted.example", deleted_at=NOW)
        # And one of before there were hosts
        old = submitted(connection, "old.example", published=NOW + 5.0, host_hash=None)
        assert [queue.begin(one) for _ in range(3)] == [one, old, two]
        # And where nothing waits, a message says why it begins nothing
        assert [queue.begin(one), queue.begin(old), queue.begin("custom_ffffffff")] == ["BUSY", "BUSY", "DELETED"]


def test_a_host_that_the_line_does_not_know_is_found_by_any_message(engine: Engine) -> None:
    with engine.begin() as connection:
        queue = Queue(connection)
        first = submitted(connection, "known.example")
        assert queue.begin(first) == first
        # Given a row that another service has published
        unknown = submitted(connection, "unknown.example")
        assert queue.begin(first) == unknown


def test_many_hosts_whose_rows_are_gone_hold_up_no_turn(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statussvc.db.repository.turns.MOST_LOOKED_UP", 2)
    with engine.begin() as connection:
        queue = Queue(connection)
        gone = [submitted(connection, f"gone-{number}.example", published=NOW - 9.0 + number) for number in range(9)]
        here = [submitted(connection, "here.example", published=NOW + number) for number in range(3)]
        assert queue.begin(gone[0]) == gone[0]
        connection.execute(update(datasets).where(datasets.c.dataset_id.in_(gone)).values(deleted_at=NOW))
        assert [queue.begin(one) for one in here] == here


def test_a_message_that_comes_before_its_confirm_leaves_its_dataset_to_the_others(engine: Engine) -> None:
    with engine.begin() as connection:
        # Given a dataset that is being published, and one of a host whose turn it is
        queue = Queue(connection)
        busy, early = submitted(connection, "many.example"), submitted(connection, "many.example", published=None)
        other = submitted(connection, "other.example")
        assert queue.begin(busy) == busy
        # When its message comes first, then it begins the other's, whose message begins this one in turn
        assert queue.begin(early) == other
        assert queue.begin(other) == early


def test_the_same_run_gets_the_same_grant(engine: Engine) -> None:
    with engine.begin() as connection:
        queue = Queue(connection)
        many = [submitted(connection, "many.example", published=NOW + n) for n in range(3)]
        other = submitted(connection, "other.example", published=NOW + 5.0)
        assert queue.begin(many[0]) == many[0]
        assert queue.begin(many[1]) == other
        queue.runs -= 1
        assert queue.begin(many[1]) == other
        queue.end(other)
        queue.runs -= 1
        assert queue.begin(many[1]) == "FINISHED"


def test_a_new_host_is_published_before_the_whole_of_anothers_is(engine: Engine) -> None:
    with engine.begin() as connection:
        turns = Turns()
        for _ in range(50):
            submitted(connection, "many.example", published=None)
        new = [submitted(connection, f"new-{number}.example", published=None) for number in range(4)]
        tiler = submitted(connection, "many.example", published=None, state=State.DOWNLOADED)
        leased: list[str] = []
        for batch in range(1, 3):
            due = outbox.lease_pending(connection, 10, (), POLICY, NOW, turns)
            leased += [one.dataset_id for one in due]
            assert len(set(leased)) == 10 * batch
        assert {*new, tiler} <= set(leased)


def test_which_messages_are_lost_is_told_by_those_that_arrive(engine: Engine) -> None:
    with engine.begin() as connection:
        # Given a long queue of one host, and others that come much later and are begun by its messages
        queue = Queue(connection)
        many = [submitted(connection, "many.example", published=NOW - 1000.0 + n) for n in range(9)]
        others = [submitted(connection, f"{n}.example", published=NOW - 9.0 + n) for n in range(3)]
        assert [queue.begin(one) for one in many[:4]] == [many[0], *others]
        # Then nothing is taken for lost, also when their own messages come
        assert queue.begin(others[0]) == many[1]
        assert outbox.lease_pending(connection, 9, (), POLICY, NOW, queue.turns) == []
        # But where a message arrives whose dataset still waits, what was published long before it is
        late = [submitted(connection, "many.example", published=NOW + n) for n in range(2)]
        assert queue.begin(late[0]) == many[2]
        lost = outbox.lease_pending(connection, 9, (), POLICY, NOW, queue.turns)
        assert {one.dataset_id for one in lost} == set(many[3:])


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
