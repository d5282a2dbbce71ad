"""A hundred thousand datasets: what is asked all the time reads a few rows of them, and never all.

SQLite's steps and PostgreSQL's rows are counted, not timed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, select, text

from statussvc.db.repository import (
    catalogue,
    changes,
    garbage,
    holds,
    labels,
    lost_builds,
    outbox,
    places,
    purge,
    reusable,
    search,
    searchable,
    stages,
    turns,
)
from statussvc.db.repository.turns import Turns
from statussvc.db.rows import DatasetRow, RunRow, fetch_all
from statussvc.db.tables import runs
from statussvc.lifecycle import Stage, State
from statussvc.policy import Policy
from tests.support.rigs.costs import NUMBERS, migrated, rows_of, steps_of

NOW = 1_800_000_000.0
POLICY = Policy(crash_limit=3, retry_limit=5, retry_base=1.0, retry_cap=300.0)
ROWS = 100_000
URL = "https://example.org/a"
"""Of nearly all rows."""
STEPS = 60_000
"""Steps of SQLite's machine that a call may take. A scan of all rows takes at least five a row."""
TOUCHED = 3_000
"""Rows that PostgreSQL may touch in one statement."""

# Of ten rows seven are ready, two wait for ingest and one for a tiler, all published: nothing is due, and every
# second one that waits for ingest is held by a host. Every
# thousandth has failed, and is of a seldom category and subject. Nearly all are of one host.
FILL = """
INSERT INTO datasets (seq, dataset_id, kind, expected_sha256, tile_format, tile_quality, page, name, description,
                      category, subject, url, tile_size, state, attempt, crashes, retries, revision,
                      created_at, queued_at, started_at, published_at, host_hash, source_key, source_sha256, tile_id,
                      url_hash, reference, held_by)
SELECT n, 'custom_' || n, 'dataset', '', '', 0, 0, 'Name ' || n, '',
       CASE WHEN n % 1000 = 0 THEN 'seldom' ELSE 'often' END,
       CASE WHEN n % 1000 = 0 THEN 'seldom' ELSE 'often' END, 'https://example.org/a', 256,
       CASE WHEN n % 1000 = 0 THEN 'FAILED' WHEN n % 10 < 7 THEN 'READY' WHEN n % 10 < 9 THEN 'QUEUED'
            ELSE 'DOWNLOADED' END,
       1, 0, 0, 1, :now - 1000, :now - 1000, :now - 900, CASE WHEN n % 10 < 7 THEN NULL ELSE :now - 500 END,
       CASE WHEN n % 1000 = 777 THEN 'host' || n ELSE 'flood' END,
       'sources/custom_' || n || '/1', CASE WHEN n % 1000 = 0 THEN 'seldom' ELSE 'often' END, 'tile' || n,
       CASE WHEN n % 1000 = 0 THEN 'seldom' ELSE :often END, 'ref' || n,
       CASE WHEN n % 10 = 8 THEN 'host:crowd' END
FROM numbers
"""
FILL_TAGS = """
INSERT INTO dataset_labels (label_hash, seq)
SELECT CASE WHEN n % 1000 = 0 THEN :seldom_tag ELSE :often_tag END, n FROM numbers
"""
FILL_ENTRIES = """
INSERT INTO dataset_labels (label_hash, seq) SELECT :entry, n FROM numbers
"""
# Every thousandth was followed by another.
FILL_CHANGES = """
INSERT INTO changes (dataset_id, change, began_at, ended_at, overtaken)
SELECT 'custom_' || n, 'CREATE', :now - 1000, :now - 800, n % 1000 = 0 FROM numbers
"""
FILL_RUNS = """
INSERT INTO runs (run_id, dataset_id, attempt, stage, worker, begun_at, published_at, ended_at, outcome, answer,
                  bytes_downloaded, tiles_done)
SELECT 'run' || n, 'custom_' || n, 1, CASE WHEN n % 2 = 0 THEN 'INGEST' ELSE 'TILER' END, 'w', :now - 900, :now - 950,
       :now - 800, 'completed', 'WON', 0, 0
FROM numbers
"""
FILL_PYRAMIDS = """
INSERT INTO pyramids (tile_id, build, deleting, width, height, tile_size, format, tile_count, bytes, created_at)
SELECT 'tile' || n, 'run' || n, FALSE, 1000, 700, 256, 'JPEG', 30, 99, :now - 800 FROM numbers
"""
FILL_TEXTS = """
INSERT INTO dataset_texts (seq, name, description, grams)
SELECT n, 'name ' || n, CASE WHEN n % 1000 = 0 THEN 'seldom' ELSE 'often and long' END, {grams}
FROM numbers
"""


def grams(of: str) -> str:
    return ",".join(str(searchable.number(gram)) for gram in searchable.grams(of))


GRAMS = {
    "sqlite": "NULL",
    "postgresql": f"CASE WHEN n % 1000 = 0 THEN ARRAY[{grams('seldom')}] ELSE ARRAY[{grams('often and long')}] END",
}
LABELS = {
    "seldom_tag": labels.tag_hash("seldom"),
    "often_tag": labels.tag_hash("often"),
    "entry": labels.entry_hash("shelf", "1"),
}


def fill(engine: Engine) -> Engine:
    with engine.begin() as connection:
        texts = FILL_TEXTS.format(grams=GRAMS[engine.dialect.name])
        for statement in (FILL, FILL_RUNS, FILL_PYRAMIDS, FILL_TAGS, FILL_ENTRIES, FILL_CHANGES, texts):
            numbers, (into, select) = NUMBERS[engine.dialect.name], statement.split("SELECT", 1)
            # SQLite takes a WITH before INSERT, PostgreSQL before SELECT too.
            values = {"now": NOW, "rows": ROWS, "often": reusable.url_hash(URL), **LABELS}
            connection.execute(text(f"{into} {numbers} SELECT {select}"), values)
        for stage in Stage:
            TURNS.join(connection, stage, "flood")
    return engine


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("rows") / "rows.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    migrated(engine)
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgres(postgres_server: Any) -> Iterator[Engine]:
    with postgres_server.database() as url:
        engine = create_engine(url)
        migrated(engine)
        fill(engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        yield engine
        engine.dispose()


@pytest.fixture
def new_postgres(postgres_server: Any) -> Iterator[Engine]:
    """A database without statistics yet, as while a first flood comes."""
    with postgres_server.database() as url:
        engine = create_engine(url)
        migrated(engine)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE datasets SET (autovacuum_enabled = false)"))
        fill(engine)
        with engine.begin() as connection:
            connection.execute(text("UPDATE datasets SET state = 'DOWNLOADED', published_at = :now"), {"now": NOW})
        yield engine
        engine.dispose()


def page(**wanted: Any) -> Callable[[Connection], Any]:
    asked = {"states": (), "category": "", "subject": "", "size": 50, "before": None, **wanted}
    return lambda connection: catalogue.page(connection, catalogue.Page(**asked))


def found(query: str, **wanted: Any) -> Callable[[Connection], Any]:
    asked = {"states": (), "category": "", "subject": "", "size": 50, "before": None, **wanted}
    return lambda connection: search.find(connection, query, catalogue.Page(**asked))


def a_dataset(connection: Connection) -> DatasetRow:
    return catalogue.get(connection, "custom_50001").row


WORKING = (State.QUEUED, State.DOWNLOADING, State.DOWNLOADED, State.TILING)
PREFIXES = ["sources/custom_5000/1", "pyramids/tile5000/run5000/", "scratch/run5000/"]

TURNS = Turns()
"""Whose line is known already. It is built once, from all rows that wait."""


def next_of_another_host(connection: Connection) -> Any:
    """As while the one host has runs at work, and others wait behind it."""
    connection.execute(text("UPDATE datasets SET state = 'DOWNLOADING' WHERE dataset_id = 'custom_7'"))
    chosen = TURNS.next(connection, Stage.INGEST)
    assert chosen is not None
    assert chosen.dataset_id.endswith("777")
    return chosen.dataset_id


def a_backlog(connection: Connection) -> Any:
    """As after a restart: a part of the queue has to be published."""
    connection.execute(text("UPDATE datasets SET published_at = NULL WHERE state = 'QUEUED' AND seq < 1500"))
    return outbox.lease_pending(connection, 100, (), POLICY, NOW, TURNS)


CALLS: dict[str, tuple[Callable[[Connection], Any], int | None]] = {
    "GetStatus": (lambda connection: catalogue.get(connection, "custom_50000"), None),
    "ResolveDataset": (lambda connection: catalogue.resolve(connection, "custom_50000"), None),
    "GetPyramid": (lambda connection: catalogue.pyramid(connection, "tile50000"), None),
    "LeasePending, nothing due": (
        lambda connection: outbox.lease_pending(connection, 100, (), POLICY, NOW, Turns()),
        0,
    ),
    "LeasePending, a queue lost": (
        lambda connection: outbox.lease_pending(connection, 99, list(Stage), POLICY, NOW, Turns()),
        99,
    ),
    "LeasePending, a long backlog": (a_backlog, 100),
    "BeginStage, who downloads a URL": (lambda connection: holds.holder(connection, URL, ""), None),
    "BeginStage, who has downloaded a URL": (
        lambda connection: reusable.fresh_download(connection, URL, "", 60.0, NOW),
        None,
    ),
    "BeginStage, what a host allows": (lambda connection: places.at_work(connection, "flood"), None),
    "FailStage, who else comes from a host": (
        lambda connection: places.others_at(connection, "flood", catalogue.get(connection, "custom_5000").row),
        None,
    ),
    "LeasePending, who waits for a host": (
        lambda connection: places.settle(connection, POLICY, NOW, "")[0],
        places.MOST_FREED,
    ),
    "since when others wait for a place": (lambda connection: places.waits_since(connection, POLICY, NOW), 0),
    "since when a host is waited for": (
        lambda connection: [places._first_held(connection, "host:crowd", POLICY, NOW)],
        1,
    ),
    "FailStage, whose download has just ended": (
        lambda connection: places.has_overlapped(
            connection,
            "flood",
            catalogue.get(connection, "custom_5000").row,
            fetch_all(connection, RunRow, select(runs).where(runs.c.run_id == "run5000"))[0],
            NOW - 790.0,
        ),
        None,
    ),
    "BeginStage, another host's turn": (next_of_another_host, None),
    "BeginStage, a host's own turn": (lambda connection: TURNS.next(connection, Stage.TILER), None),
    "BeginStage, nothing waits": (lambda connection: TURNS.next(connection, Stage.INSPECT), None),
    "since when others wait": (lambda connection: turns.waits_since(connection, Stage.INGEST), None),
    "ListDatasets": (page(), 51),
    "ListDatasets, a late page": (page(before=500), 51),
    "ListDatasets of one state": (page(states=(State.READY,)), 51),
    "ListDatasets of a state that is seldom": (page(states=(State.FAILED,)), 51),
    "ListDatasets of a state that nothing is in": (page(states=(State.CANCELLED,)), 0),
    "ListDatasets of what is processing": (page(states=WORKING), 51),
    "ListDatasets of a category": (page(category="seldom"), 51),
    "ListDatasets of no category": (page(category="never"), 0),
    "ListDatasets of a subject": (page(subject="seldom"), 51),
    "ListDatasets of no subject": (page(subject="never"), 0),
    "ListDatasets of a URL": (page(url=URL), 51),
    "ListDatasets of a URL, in a state that is seldom": (page(url=URL, states=(State.FAILED,)), 0),
    "ListDatasets of no URL": (page(url=URL + "?"), 0),
    "ListDatasets of a URL, of no category": (page(url=URL + "?", category="often"), 0),
    "ListDatasets of a SHA-256": (page(sha256="seldom"), 51),
    "ListDatasets of a SHA-256 that many have": (page(sha256="often", states=(State.READY,)), 51),
    "ListDatasets of no SHA-256": (page(sha256="never", category="often", states=(State.READY,)), 0),
    "ListDatasets of a reference": (page(reference="ref5000"), 1),
    "ListDatasets of a reference, in a state": (page(reference="ref5000", states=(State.FAILED,)), 1),
    "ListDatasets of no reference": (page(reference="never", category="often"), 0),
    "ListDatasets of a tag": (page(label_hashes=(labels.tag_hash("seldom"),)), 51),
    "ListDatasets of a tag, in a state": (
        page(label_hashes=(labels.tag_hash("seldom"),), states=(State.FAILED,), category="seldom"),
        51,
    ),
    "ListDatasets of a tag that many have": (page(label_hashes=(labels.tag_hash("often"),), before=500), 51),
    "ListDatasets of no tag": (page(label_hashes=(labels.tag_hash("never"),), states=(State.READY,)), 0),
    "ListDatasets of a tag and metadata": (
        page(label_hashes=(labels.tag_hash("seldom"), labels.entry_hash("shelf", "1"))),
        51,
    ),
    "a search for what is seldom": (found("SELDOM"), 51),
    "a search for what is often": (found("and long"), 51),
    "a search for what is often, a late page": (found("and long", before=500), 51),
    "a search for what nothing has": (found("no such text"), 0),
    "a short search for what is often": (found("nd"), 51),
    "runs at work": (lambda connection: stages.at_work(connection, ()), 0),
    "a purge of datasets": (lambda connection: purge.deleted(connection, NOW, NOW), None),
    "a purge of inspections": (lambda connection: purge.inspections(connection, NOW), None),
    "what a download goes on from": (
        lambda connection: reusable.previous_download(connection, "custom_5000"),
        len("run5000"),
    ),
    "a finished download of a URL": (
        lambda connection: reusable.finished_download(connection, catalogue.get(connection, "custom_5000").row),
        None,
    ),
    "ListChanges": (lambda connection: changes.pages(connection, 500).changes, 100),
    "ListChanges, the first and the last page": (lambda connection: changes.pages(connection, None), None),
    "a change of a dataset": (lambda connection: changes.shown(connection, a_dataset(connection)), None),
    "a dataset's deletion": (lambda connection: changes.gone(connection, "custom_5001"), None),
    "a purge of changes": (lambda connection: purge.overtaken_changes(connection, NOW), None),
    "a purge of runs": (lambda connection: purge.overtaken_runs(connection, NOW, purge.START, NOW), 2),
    "a purge of runs, later": (
        lambda connection: purge.overtaken_runs(connection, NOW, (NOW - 800, "run5"), NOW),
        2,
    ),
    "ListBuilds": (lambda connection: lost_builds.builds(connection, "tile5", 100, NOW)[0], None),
    "ReportLostBuild": (
        lambda connection: lost_builds.report(connection, "tile500", "run500", NOW),
        len("custom_500"),
    ),
    "LeaseGarbage, of builds": (lambda connection: garbage.unreferenced_builds(connection, "tile5")[0], 0),
    "LeaseGarbage": (lambda connection: garbage.lease(connection, PREFIXES, None, NOW), 1),
}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_as_much_garbage_as_one_call_may_name_takes_few_statements(
    database: str, request: pytest.FixtureRequest
) -> None:
    # Given as many things as one call may ask about, of each kind
    kinds = ("sources/custom_{}/2", "pyramids/tile{}/lost/", "scratch/dead{}/")
    asked = [kinds[number % 3].format(number) for number in range(garbage.MOST)]
    asked_for: list[str] = []
    engine: Engine = request.getfixturevalue(database)
    with engine.connect() as connection:

        @event.listens_for(connection, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            asked_for.append(statement)

        # When they are leased, then it takes as many statements as for a few
        assert garbage.lease(connection, asked, None, NOW) == asked
        assert len(asked_for) < 12
        connection.rollback()


@pytest.mark.parametrize("call", CALLS)
def test_sqlite_takes_few_steps(call: str, sqlite: Engine) -> None:
    function, found = CALLS[call]
    steps, result = steps_of(sqlite, function)
    assert steps < STEPS
    assert found is None or len(result) == found


def test_the_number_of_steps_tells_a_scan_of_all_rows(sqlite: Engine) -> None:
    steps, result = steps_of(sqlite, found("qq"))
    assert (result, steps > STEPS) == ([], True)


@pytest.mark.parametrize("call", CALLS)
def test_postgres_touches_few_rows(call: str, postgres: Engine) -> None:
    function, found = CALLS[call]
    with postgres.connect() as connection:
        result = check_touched(connection, function)
    assert found is None or len(result) == found


def test_a_new_postgres_touches_few_rows_of_a_host(new_postgres: Engine) -> None:
    with new_postgres.connect() as connection:
        # Given hosts that have nothing in a long queue
        hosts = Turns()
        for host in ("gone", "flood"):
            hosts.join(connection, Stage.TILER, host)
        hosts._lines[Stage.TILER].move_to_end("gone", last=False)
        # When it is their turn, then the queue is not read for that
        assert check_touched(connection, lambda connection: hosts.next(connection, Stage.TILER)) is not None


def check_touched(connection: Connection, function: Callable[[Connection], Any]) -> Any:
    """Calls a function and rolls back. Each SELECT that it made touches few rows."""
    asked: list[tuple[str, Any]] = []

    @event.listens_for(connection, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    result = function(connection)
    connection.rollback()
    event.remove(connection, "before_cursor_execute", note)
    assert asked
    for statement, parameters in asked:
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).one()
        assert rows_of(plan[0]["Plan"]) < TOUCHED, json.dumps(plan, indent=1)
    connection.rollback()
    return result
