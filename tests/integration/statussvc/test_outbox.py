"""Which waiting rows are due for publishing, at which time: with clocks that jump, and messages that are lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from statussvc.db.repository import outbox, user_actions
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.repository.turns import Turns
from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import Stage, State
from statussvc.policy import Policy

NOW = 1_800_000_000.0
DAY = 86400.0
LONGEST_DELAY = 300.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=LONGEST_DELAY)
EARTH = NewDataset("Earth", "", "", "", "https://example.org/earth.jpg", 256)


def add(engine: Engine, **columns: Any) -> str:
    with engine.begin() as connection:
        dataset_id, _ = create(connection, EARTH, NOW)
        connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(attempt=1, **columns))
    return dataset_id


def begun(engine: Engine, stage: Stage, published_at: float) -> None:
    """A dataset whose run has begun by a message of that time."""
    run_id, state = "f" * 32, State.DOWNLOADING if stage is Stage.INGEST else State.TILING
    dataset_id = add(engine, state=state, run_id=run_id)
    values = {"run_id": run_id, "dataset_id": dataset_id, "attempt": 1, "stage": stage, "worker": "w"}
    counts = {"begun_at": NOW, "published_at": published_at, "bytes_downloaded": 0, "tiles_done": 0}
    with engine.begin() as connection:
        connection.execute(insert(runs).values(**values, **counts))


def lease(engine: Engine, *, empty: tuple[Stage, ...] = (), now: float = NOW, limit: int = 100) -> list[str]:
    with engine.begin() as connection:
        due = outbox.lease_pending(connection, limit, empty, POLICY, now, Turns())
    return [one.dataset_id for one in due]


@dataclass(frozen=True)
class Case:
    """Times are seconds from now; None: not set."""

    says: str
    due: bool
    published: float | None = None
    leased: float | None = None
    not_before: float | None = None
    empty: bool = False
    begun: float | None = None
    begun_stage: Stage = Stage.INGEST


CASES = [
    Case("never published", due=True),
    Case("just published", due=False, published=0.0, empty=True),
    Case("published 59 s ago, its queue empty", due=False, published=-59.0, empty=True),
    Case("published 61 s ago, its queue empty: lost", due=True, published=-61.0, empty=True),
    Case("published 61 s ago, and its queue has messages", due=False, published=-61.0),
    Case("published a day ago in a long queue", due=False, published=-DAY),
    Case("a long queue of which older ones have begun", due=False, published=-DAY, begun=-DAY - 500.0),
    Case("one published 59 s later has begun", due=False, published=-100.0, begun=-41.0),
    Case("one published 61 s later has begun: lost", due=True, published=-100.0, begun=-39.0),
    Case("one published later has begun, but this one 59 s ago", due=False, published=-59.0, begun=2.0),
    Case("one of the other queue has begun", due=False, published=-100.0, begun=-30.0, begun_stage=Stage.TILER),
    Case("one has begun by a time that was before a jump back", due=False, published=-100.0, begun=DAY),
    Case("published a day ahead: the clock was set back", due=True, published=DAY),
    Case("published a moment ahead: two machines' clocks", due=False, published=2.0, empty=True),
    Case("leased", due=False, leased=10.0),
    Case("its lease is over", due=True, leased=-1.0),
    Case("leased until a day ahead: the clock was set back", due=True, leased=DAY),
    Case("leased until a day ago: the clock was set forward", due=True, leased=-DAY),
    Case("lost, but leased to be published again", due=False, published=-100.0, leased=5.0, empty=True),
    Case("a retry whose time has not come", due=False, not_before=10.0),
    Case("a retry as far ahead as it can be", due=False, not_before=LONGEST_DELAY),
    Case("a retry whose time has come", due=True, not_before=-1.0),
    Case("a retry further ahead than it can be: the clock was set back", due=True, not_before=LONGEST_DELAY + DAY),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
@pytest.mark.parametrize("state", [State.QUEUED, State.DOWNLOADED])
def test_a_waiting_row_is_due(case: Case, state: State, engine: Engine) -> None:
    def at(seconds: float | None) -> float | None:
        return None if seconds is None else NOW + seconds

    # Given a row that waits for a stage; the table is written for ingest
    other = {Stage.INGEST: Stage.TILER, Stage.TILER: Stage.INGEST}
    stage = Stage.INGEST if state is State.QUEUED else Stage.TILER
    times = {"published_at": at(case.published), "leased_until": at(case.leased), "not_before": at(case.not_before)}
    dataset_id = add(engine, state=state, **times)
    if case.begun is not None:
        begun(engine, stage if case.begun_stage is Stage.INGEST else other[stage], NOW + case.begun)
    # When a relay asks
    leased = lease(engine, empty=(stage,) if case.empty else (other[stage],))
    # Then
    assert leased == ([dataset_id] if case.due else [])
    if case.due:
        # And it is that relay's for fifteen seconds
        assert lease(engine, now=NOW + 14.0) == []
        assert lease(engine, empty=(stage,), now=NOW + 16.0) == [dataset_id]


@pytest.mark.parametrize("state", [State.DOWNLOADING, State.TILING, State.READY, State.FAILED, State.CANCELLED])
def test_what_does_not_wait_is_never_due(state: State, engine: Engine) -> None:
    add(engine, state=state)
    add(engine, state=State.QUEUED, deleted_at=NOW - 1.0)
    assert lease(engine, empty=tuple(Stage)) == []


def test_publishing_again_renews_the_time_and_counts_nothing(engine: Engine) -> None:
    dataset_id = add(engine, published_at=NOW - 100.0)
    assert lease(engine, empty=(Stage.INGEST,)) == [dataset_id]
    with engine.begin() as connection:
        outbox.confirm_published(connection, outbox.WakeUp(dataset_id, 1, Stage.INGEST), NOW, Turns())
        row = connection.execute(select(datasets)).one()
    assert (row.published_at, row.leased_until) == (NOW, None)
    assert (row.attempt, row.crashes, row.retries, row.revision) == (1, 0, 0, 1)
    assert lease(engine, empty=(Stage.INGEST,), now=NOW + 59.0) == []


@pytest.mark.parametrize(
    ("columns", "attempt", "stage"),
    [
        ({"state": State.DOWNLOADING}, 1, Stage.INGEST),
        ({"state": State.DOWNLOADED}, 1, Stage.INGEST),
        ({"state": State.QUEUED}, 2, Stage.INGEST),
        ({"state": State.QUEUED}, 1, Stage.TILER),
    ],
    ids=["it has begun", "it waits for the next stage", "another attempt", "another stage"],
)
def test_a_confirm_of_what_has_moved_on_is_ignored(
    columns: dict[str, Any], attempt: int, stage: Stage, engine: Engine
) -> None:
    dataset_id = add(engine, **columns)
    with engine.begin() as connection:
        outbox.confirm_published(connection, outbox.WakeUp(dataset_id, attempt, stage), NOW, Turns())
        assert connection.execute(select(datasets)).one().published_at is None


def test_several_relays_share_what_is_due_and_none_gets_it_twice(engine: Engine) -> None:
    waiting = [add(engine) for _ in range(5)]
    tiler = add(engine, state=State.DOWNLOADED)
    assert lease(engine, limit=3) == [waiting[0], tiler, waiting[1]]
    assert lease(engine, limit=3) == waiting[2:]
    assert lease(engine, limit=3) == []


def test_a_retry_by_hand_does_not_wait_for_the_time_of_the_automatic_one(engine: Engine) -> None:
    # Given one that was cancelled while it waited for its next try
    dataset_id = add(engine, not_before=NOW + 200.0, error_code="stalled", error_message="It stood still.")
    with engine.begin() as connection:
        user_actions.cancel(connection, dataset_id, NOW)
    assert lease(engine) == []
    # When it is retried
    with engine.begin() as connection:
        user_actions.retry(connection, dataset_id, NOW)
    # Then it is due at once
    assert lease(engine) == [dataset_id]
