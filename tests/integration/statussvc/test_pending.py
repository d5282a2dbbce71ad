"""A source that its server still has to fetch, as from tape, is waited for and costs no retry."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import Engine, select

from statussvc.db import Failure
from statussvc.db.repository import stages
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.repository.outbox import WakeUp
from statussvc.db.tables import datasets
from statussvc.lifecycle import Stage, State
from statussvc.policy import MOST_PENDING_DELAY, PENDING_SECONDS, Policy

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=1, retry_base=2.0, retry_cap=300.0)
EARTH = NewDataset("Earth", "", "", "", "https://example.org/earth.jpg", 256)


@pytest.fixture
def run_ids() -> Iterator[str]:
    return (f"{number:032x}" for number in count(1))


def attempt(engine: Engine, run_ids: Iterator[str], now: float, code: str, retry_after: float = 0.0) -> float | None:
    """Begins and fails the only dataset; gives the seconds until the next attempt, None where it failed."""
    with engine.begin() as connection:
        row = connection.execute(select(datasets)).one()
        wake_up, run_id = WakeUp(row.dataset_id, row.attempt, Stage.INGEST), next(run_ids)
        stages.begin(connection, wake_up, run_id, "w", POLICY, now)
        stages.fail(connection, run_id, Failure(code, "It is not there.", True, retry_after), POLICY, now)
        row = connection.execute(select(datasets)).one()
    return None if row.state is State.FAILED else row.not_before - now


def test_an_archive_is_waited_for_by_its_retry_after(engine: Engine, run_ids: Iterator[str]) -> None:
    with engine.begin() as connection:
        create(connection, EARTH, NOW)
    # Given a server that answers 202 many more times than there are retries
    now = NOW
    for asked, least, most in [(60.0, 60, 60), (7200.0, 7200, 7200), (1e6, MOST_PENDING_DELAY, MOST_PENDING_DELAY)]:
        delay = attempt(engine, run_ids, now, "source_pending", asked)
        assert delay is not None
        assert least <= delay <= most
        now += delay
    # And where it says nothing, the delay grows up to the usual limit
    delays = [attempt(engine, run_ids, now, "source_pending") for _ in range(8)]
    assert all(delay is not None and 4.0 <= delay <= POLICY.retry_cap for delay in delays)
    assert (delays[-1] or 0.0) >= POLICY.retry_cap / 2
    # When something else fails, then that is the first retry, and the next the last
    assert attempt(engine, run_ids, now, "source_unavailable") is not None
    assert attempt(engine, run_ids, now, "source_unavailable") is None


def test_an_archive_that_never_has_the_file_is_left(engine: Engine, run_ids: Iterator[str]) -> None:
    with engine.begin() as connection:
        create(connection, EARTH, NOW)
    assert attempt(engine, run_ids, NOW, "source_pending") is not None
    assert attempt(engine, run_ids, NOW + PENDING_SECONDS - 1.0, "source_pending") is not None
    # After two days each try counts
    assert attempt(engine, run_ids, NOW + PENDING_SECONDS, "source_pending") is not None
    assert attempt(engine, run_ids, NOW + PENDING_SECONDS, "source_pending") is None
