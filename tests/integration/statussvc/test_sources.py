"""For how long originals are kept after a dataset's end."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from statussvc.db.repository import garbage, user_actions
from statussvc.db.repository.catalogue import NewDataset, create
from statussvc.db.tables import datasets
from statussvc.lifecycle import State
from statussvc.policy import Policy
from statussvc.server import policy_of
from statussvc.settings import StatusSettings

NOW = 1_800_000_000.0
KEEP = 7 * 86400.0
EARTH = NewDataset("Earth", "", "", "", "https://example.org/earth.jpg", 256)
ENDS = [State.READY, State.FAILED, State.CANCELLED]


def ended(engine: Engine, state: State) -> str:
    """The key of the source of a dataset that came to its end just now."""
    with engine.begin() as connection:
        dataset_id, _ = create(connection, EARTH, NOW - 60.0)
        key, finished = f"sources/{dataset_id}/1", NOW if state in ENDS else None
        values = {"state": state, "source_key": key, "source_sha256": "ab" * 32, "finished_at": finished}
        connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(**values))
    return key


def lease(engine: Engine, key: str, keep: float | None, now: float) -> list[str]:
    with engine.begin() as connection:
        return garbage.lease(connection, [key], keep, now)


def row(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(datasets)).one()


@pytest.mark.parametrize("state", ENDS)
def test_a_source_goes_when_its_time_is_over_and_its_row_forgets_it(state: State, engine: Engine) -> None:
    key = ended(engine, state)
    # Given a time that is not over, Then it stays
    assert lease(engine, key, KEEP, NOW + KEEP - 1.0) == []
    assert row(engine).source_key == key
    # When it is over, Then it is garbage, and in the same transaction nothing refers to it
    assert lease(engine, key, KEEP, NOW + KEEP) == [key]
    assert (row(engine).source_key, row(engine).state) == (None, state)
    if state is not State.READY:
        # And a retry starts with the download
        with engine.begin() as connection:
            user_actions.retry(connection, row(engine).dataset_id, NOW + KEEP)
        assert (row(engine).state, row(engine).attempt) == (State.QUEUED, 2)


@pytest.mark.parametrize("state", ENDS)
def test_a_source_is_kept_for_ever_where_no_time_is_set(state: State, engine: Engine) -> None:
    assert lease(engine, ended(engine, state), None, NOW + 1e9) == []


def test_a_source_may_go_at_once(engine: Engine) -> None:
    key = ended(engine, State.READY)
    assert lease(engine, key, 0.0, NOW) == [key]


@pytest.mark.parametrize("state", [State.DOWNLOADED, State.TILING])
def test_a_source_that_is_needed_stays_however_old_it_is(state: State, engine: Engine) -> None:
    assert lease(engine, ended(engine, state), KEEP, NOW + 10 * KEEP) == []


def test_a_clock_that_was_set_back_keeps_a_source_longer(engine: Engine) -> None:
    assert lease(engine, ended(engine, State.READY), KEEP, NOW - 86400.0) == []


def test_a_retry_before_the_time_is_over_takes_the_source_up_again(engine: Engine) -> None:
    key = ended(engine, State.CANCELLED)
    with engine.begin() as connection:
        user_actions.retry(connection, row(engine).dataset_id, NOW + 1.0)
    assert (row(engine).state, row(engine).source_key) == (State.DOWNLOADED, key)
    assert lease(engine, key, KEEP, NOW + 10 * KEEP) == []


def test_what_is_no_key_of_ours_is_never_garbage(engine: Engine) -> None:
    odd = [
        "sources/custom_ffffffff/²",
        "sources/custom_ffffffff/x",
        "sources/custom_ffffffff",
        f"sources/custom_ffffffff/{'9' * 5000}",
        "elsewhere/x/1",
        "",
        "/",
    ]
    with engine.begin() as connection:
        assert garbage.lease(connection, odd, KEEP, NOW) == []


@pytest.mark.parametrize(("value", "seconds"), [("7", KEEP), ("0.5", 43200.0), ("0", 0.0), ("", None)])
def test_the_setting_is_in_days_and_empty_is_for_ever(
    value: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEWRIGHT_KEEP_SOURCES_DAYS", value)
    assert policy_of(StatusSettings()).keep_sources == seconds


def test_every_setting_of_the_policy_reaches_it() -> None:
    settings = StatusSettings(
        crash_limit=7,
        retry_limit=8,
        retry_base_seconds=9,
        retry_cap_seconds=10,
        lost_after_seconds=11,
        slot_rate=12,
        slot_seconds=13,
    )
    policy = Policy(
        crash_limit=7, retry_limit=8, retry_base=9.0, retry_cap=10.0, lost_after=11.0, slot_rate=12.0, slot_seconds=13.0
    )
    assert policy_of(settings) == policy
