"""Ten thousand datasets that wait for one host or one URL: each call costs as much as with a tenth of them.

SQLite's steps and PostgreSQL's rows are counted, not timed. A call changes a limited number of rows, so that all of a
crowd together cost in proportion to its size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text, update

from statussvc.db.repository import holds, places, reusable, stages, turns, user_actions
from statussvc.db.repository.outbox import WakeUp, lease_pending
from statussvc.db.tables import HOST, datasets
from statussvc.lifecycle import Stage
from statussvc.policy import Policy
from tests.support.rigs.costs import NUMBERS, migrated, steps_of, touched_by

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)
CROWD, FEW = 10_000, 1_000
URL = "https://example.org/a"
HOST_HASH = turns.host_hash(URL)
RUN_NUMBERS = itertools.count(1)

SLACK = 1.5
"""A tree of ten times as many rows is deeper by a level at most."""

TOUCHED = 15_000
"""Rows that PostgreSQL may touch in one call. It may read the crowd once to change a thousand rows of it. Done for each
of a hundred rows, it would be a million."""

FILL = """
INSERT INTO datasets (seq, dataset_id, kind, expected_sha256, tile_format, tile_quality, page, name, description,
                      category, subject, url, tile_size, state, attempt, crashes, retries, revision,
                      created_at, queued_at, host_hash, url_hash)
SELECT n, 'custom_' || n, 'dataset', '', '', 0, 0, 'Name', '', '', '', :url, 256, 'QUEUED', 1, 0, 0, 1, :now, :now,
       :host, :hash
FROM numbers
"""


def fill(connection: Connection, count: int) -> None:
    """A crowd of one URL, none of which is published or held yet. The first one may be at work."""
    numbers, (into, chosen) = NUMBERS[connection.dialect.name], FILL.split("SELECT", 1)
    values = {"rows": count, "url": URL, "now": NOW, "host": HOST_HASH, "hash": reusable.url_hash(URL)}
    connection.execute(text(f"{into} {numbers} SELECT {chosen}"), values)


def change(connection: Connection, **values: Any) -> None:
    """Changes all rows but the first."""
    connection.execute(update(datasets).where(datasets.c.seq > 1).values(**values))


def own_urls(connection: Connection) -> None:
    connection.execute(text("UPDATE datasets SET url = url || seq, url_hash = 'hash' || seq"))


def held_by_first(connection: Connection, **first: Any) -> None:
    change(connection, held_by="custom_1")
    connection.execute(update(datasets).where(datasets.c.seq == 1).values(**first))


def held_by_host(connection: Connection, allowed: int | None, **columns: Any) -> None:
    own_urls(connection)
    change(connection, held_by=HOST + HOST_HASH, held_places=allowed, **columns)
    connection.execute(text("UPDATE datasets SET state = 'DOWNLOADING', run_id = 'r' WHERE seq = 1"))
    if allowed is not None:
        places.shrink(connection, HOST_HASH, allowed, None, NOW)


def held_in_pairs(connection: Connection, state: str) -> None:
    """As many holders as rows that they hold."""
    connection.execute(text("UPDATE datasets SET url_hash = 'hash' || (seq / 2), url = url || (seq / 2)"))
    connection.execute(text("UPDATE datasets SET held_by = 'custom_' || (seq - 1) WHERE seq % 2 = 1 AND seq > 1"))
    connection.execute(text("UPDATE datasets SET state = :state WHERE seq % 2 = 0"), {"state": state})


STORED = {"state": "TILING", "source_key": "sources/custom_1/1", "source_sha256": "ab" * 32, "source_bytes": 9}
FAULT = {"state": "FAILED", "error_code": "source_not_found", "error_message": "It is gone.", "error_retryable": False}


def settle(connection: Connection) -> list[str]:
    return holds.settle(connection, NOW)[0]


def settle_host(connection: Connection) -> list[str]:
    return places.settle(connection, POLICY, NOW, "")[0]


def begin(connection: Connection, seq: int) -> Any:
    wake_up = WakeUp(f"custom_{seq}", 1, Stage.INGEST)
    return stages.begin(connection, wake_up, f"{next(RUN_NUMBERS):032x}", "test", POLICY, NOW)


def lease(connection: Connection) -> Any:
    return lease_pending(connection, 100, (), POLICY, NOW, turns.Turns())


def begin_at_full_host(rows: Connection) -> Any:
    rows.execute(text("UPDATE datasets SET state = 'DOWNLOADING', run_id = 'r' WHERE seq = 1"))
    places.shrink(rows, HOST_HASH, 1, None, NOW)
    return begin(rows, 2).held


Call = Callable[[Connection], Any]

CALLS: dict[str, tuple[Call, Call, int | None]] = {
    "a URL's download begins, and its crowd is held": (lambda _: None, lambda rows: begin(rows, 1).held, None),
    "one of a URL's crowd is begun beside its download": (
        lambda rows: held_by_first(rows, state="DOWNLOADING"),
        lambda rows: begin(rows, 9).held,
        0,
    ),
    "a URL's download goes on": (lambda rows: held_by_first(rows, state="DOWNLOADING"), settle, 0),
    "a URL's file is there": (lambda rows: held_by_first(rows, **STORED), settle, holds.MOST_FREED),
    "a URL is at fault": (lambda rows: held_by_first(rows, **FAULT), settle, holds.MOST_FREED),
    "a URL's download is cancelled": (lambda rows: held_by_first(rows, state="CANCELLED"), settle, None),
    "who comes when a URL's file is there": (
        lambda rows: held_by_first(rows, **STORED),
        lambda rows: reusable.fresh_download(rows, URL, "", 0.0, NOW),
        None,
    ),
    "as many downloads as rows that wait for them": (lambda rows: held_in_pairs(rows, "DOWNLOADING"), settle, 0),
    "as many ended downloads as rows": (lambda rows: held_in_pairs(rows, "CANCELLED"), settle, holds.MOST_HOLDERS),
    "a host is full": (lambda rows: held_by_host(rows, 1), settle_host, 0),
    "a host has a place": (lambda rows: held_by_host(rows, 2), settle_host, 1),
    "a host has no limit any more": (lambda rows: held_by_host(rows, None), settle_host, places.MOST_FREED),
    "one of a full host's crowd is begun": (own_urls, begin_at_full_host, None),
    "nothing of a held crowd is published": (lambda rows: held_by_host(rows, 1), lease, 0),
    "one of a held crowd is cancelled": (
        lambda rows: held_by_host(rows, 1),
        lambda rows: user_actions.cancel(rows, "custom_9", NOW),
        None,
    ),
}


@pytest.fixture(scope="module")
def sqlite() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    migrated(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgres(postgres_server: Any) -> Iterator[Engine]:
    with postgres_server.database() as url:
        engine = create_engine(url)
        migrated(engine)
        yield engine
        engine.dispose()


def steps(engine: Engine, name: str, count: int) -> int:
    prepare, call, expected = CALLS[name]

    def prepared(connection: Connection) -> None:
        fill(connection, count)
        prepare(connection)

    taken, result = steps_of(engine, call, prepared)
    assert expected is None or len(result) == expected
    return taken


@pytest.mark.parametrize("name", CALLS)
def test_sqlite_takes_no_more_steps_for_a_larger_crowd(name: str, sqlite: Engine) -> None:
    assert steps(sqlite, name, CROWD) <= SLACK * steps(sqlite, name, FEW) + 1000


def test_the_number_of_steps_tells_a_read_of_the_crowd(sqlite: Engine) -> None:
    def count(engine: Engine, rows: int) -> int:
        read = text("SELECT seq FROM datasets WHERE name <> 'Name'")
        return steps_of(engine, lambda connection: connection.execute(read).all(), lambda one: fill(one, rows))[0]

    assert count(sqlite, CROWD) > SLACK * count(sqlite, FEW) + 1000


@pytest.mark.parametrize("name", CALLS)
def test_postgres_touches_few_rows_of_a_large_crowd(name: str, postgres: Engine) -> None:
    prepare, call, expected = CALLS[name]
    with postgres.begin() as connection:
        fill(connection, CROWD)
        prepare(connection)
    with postgres.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE datasets"))
    with postgres.connect() as connection:
        touched, result = touched_by(connection, call)
        connection.rollback()
        connection.execute(text("TRUNCATE datasets, runs, hosts"))
        connection.commit()
    assert expected is None or len(result) == expected
    assert touched < TOUCHED
