"""`q`, as its users and its abusers meet it: through the gateway, on SQLite and on PostgreSQL."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import alembic.command
import alembic.config
import grpc
import pytest
import requests
from sqlalchemy import Connection, create_engine, text

from gateway.rpc import calls as rpc
from gateway.rpc import searches as gateway_searches
from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc import server
from statussvc.db import searches
from statussvc.db.database import MIGRATIONS, Database
from statussvc.db.repository import search, searchable
from statussvc.db.tables import metadata
from tests.support.rigs.gateway_rig import Gateway, serving
from tests.support.rigs.status_rig import Status, code_of, running
from tests.support.rigs.waiting import LIMIT, until

HOUR = 3600.0
"""Seconds."""

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(3600)",
}


@pytest.fixture
def gateway(database_url: str, tmp_path: Path) -> Iterator[Gateway]:
    with running(database_url) as status, serving(status.address, tmp_path / "storage") as rig:
        yield rig


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def found(gateway: Gateway, query: str, **more: Any) -> list[str]:
    answer = gateway.get("/api/datasets", params={"q": query, **more})
    assert answer.status_code == 200, answer.text
    return [dataset["name"] for dataset in answer.json()["datasets"]]


TEXTS = {
    "Straße nach Köln": "Ein Plan von 1571, 100% echt",
    "ΟΔΟΣ ΑΘΗΝΩΝ": "under_score and back\\slash",
    'He said "no*"': "a AND b OR (c) NEAR -d ^e: f",
    "Июль": "line one\nline two\ttab",
    "🗺️ map": "O'Neill; DROP TABLE datasets; --",
    "Middle": "x" * 9_000 + " the needle in it " + "y" * 980,
}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("straße", ["Straße nach Köln"]),
        ("STRASSE", ["Straße nach Köln"]),
        ("KÖLN", ["Straße nach Köln"]),
        ("ö", ["Straße nach Köln"]),
        ("Ö", ["Straße nach Köln"]),
        ("KÖ", ["Straße nach Köln"]),
        ("100%", ["Straße nach Köln"]),
        ("0%", ["Straße nach Köln"]),
        ("%", ["Straße nach Köln"]),
        ("1%1", []),
        ("οδος", ["ΟΔΟΣ ΑΘΗΝΩΝ"]),
        ("οδοσ", ["ΟΔΟΣ ΑΘΗΝΩΝ"]),
        ("r_s", ["ΟΔΟΣ ΑΘΗΝΩΝ"]),
        ("_", ["ΟΔΟΣ ΑΘΗΝΩΝ"]),
        ("k\\s", ["ΟΔΟΣ ΑΘΗΝΩΝ"]),
        ('"', ['He said "no*"']),
        ('d "NO*"', ['He said "no*"']),
        ("o*", ['He said "no*"']),
        ("*", ['He said "no*"']),
        ("and B or (C) near -d ^e: f", ['He said "no*"']),
        ("a AND c", []),
        ("ИЮЛЬ", ["Июль"]),
        ("one\nline", ["Июль"]),
        ("июль line", []),
        ("🗺", ["🗺️ map"]),
        ("'NEILL; drop", ["🗺️ map"]),
        ("THE NEEDLE", ["Middle"]),
        ("x" * 200, ["Middle"]),
        ("xyy", []),
        ("needle  in", []),
        ("   ", []),
        (" ", ["Middle", "🗺️ map", "Июль", 'He said "no*"', "ΟΔΟΣ ΑΘΗΝΩΝ", "Straße nach Köln"]),
        ("\U0010ffff" * 3, []),
    ],
)
def test_q_finds_what_contains_it_whatever_the_case(texts: Gateway, query: str, names: list[str]) -> None:
    assert found(texts, query) == names


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with TEXTS."""
    folder = tmp_path_factory.mktemp("texts")
    if request.param == "postgres":
        with request.getfixturevalue("postgres_server").database() as url:
            yield from _with_texts(url, folder)
    else:
        yield from _with_texts(f"sqlite:///{folder / 'rows.sqlite3'}", folder)


def _with_texts(url: str, folder: Path) -> Iterator[Gateway]:
    with running(url) as status, serving(status.address, folder / "storage") as rig:
        for name, description in TEXTS.items():
            rig.submit(name, description=description)
        yield rig


def test_q_goes_with_filters_and_pages(gateway: Gateway) -> None:
    for number in range(7):
        gateway.submit(f"Sheet {number}", category=f"c{number % 2}", subject="s")
    gateway.submit("Another", category="c0", subject="s")
    assert found(gateway, "sheet", category="c0") == ["Sheet 6", "Sheet 4", "Sheet 2", "Sheet 0"]
    assert found(gateway, "sheet", status="ready") == found(gateway, "sheet", subject="t") == []
    assert len(found(gateway, "sheet", status=["queued", "failed"])) == 7
    for query in ("sheet", "sh"):
        pages: list[list[str]] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = gateway.get("/api/datasets", params={"q": query, "limit": 3, "cursor": cursor}).json()
            pages.append([dataset["name"] for dataset in answer["datasets"]])
            cursor = answer["next_cursor"]
        assert pages == [["Sheet 6", "Sheet 5", "Sheet 4"], ["Sheet 3", "Sheet 2", "Sheet 1"], ["Sheet 0"]]
    assert gateway.get("/api/datasets", params={"q": "x" * 201}).status_code == 422
    assert len(found(gateway, "")) == 8


def test_what_is_changed_is_found_by_what_it_says_now_and_what_is_deleted_not_at_all(
    gateway: Gateway, database_url: str
) -> None:
    first, second = gateway.submit("Earlier name", description="stays"), gateway.submit("Other", description="stays")
    gateway.call("PATCH", f"/api/datasets/{first}", json={"name": "Later name"})
    gateway.call("PATCH", f"/api/datasets/{second}", json={"category": "c"})
    assert found(gateway, "earlier") == found(gateway, "ea") == []
    assert found(gateway, "LATER") == ["Later name"]
    assert found(gateway, "stays") == ["Other", "Later name"]
    gateway.call("DELETE", f"/api/datasets/{first}")
    assert found(gateway, "later") == []
    assert found(gateway, "stays") == found(gateway, "st") == ["Other"]
    # And no text of it is left, nor anything in SQLite's index that the texts do not have
    with connected(database_url) as connection:
        assert connection.scalars(text("SELECT name FROM dataset_texts")).all() == ["other"]
        if database_url.startswith("sqlite"):
            connection.execute(text("INSERT INTO dataset_grams (dataset_grams) VALUES ('integrity-check')"))


class Searching:
    """Searches that come to no end by themselves."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.ended: list[BaseException] = []

    def find(self, connection: Connection, *_: Any) -> list[int]:
        self.begun.release()
        try:
            connection.exec_driver_sql(ENDLESS[connection.dialect.name])
        except BaseException as error:
            self.ended.append(error)
            raise
        return []


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Searching:
    endless = Searching()
    monkeypatch.setattr(search, "find", endless.find)
    return endless


def test_a_search_that_takes_too_long_is_ended_and_says_so(
    database_url: str, tmp_path: Path, searching: Searching
) -> None:
    with (
        running(database_url, search_seconds=0.2) as status,
        serving(status.address, tmp_path / "storage") as gateway,
    ):
        for _ in range(searches.AT_ONCE + 1):  # a thread that is not given back would be missed
            answer = gateway.get("/api/datasets", params={"q": "any"})
            assert (answer.status_code, answer.json()["code"]) == (503, "search_too_slow")
            assert "three characters" in answer.json()["detail"]
            assert int(answer.headers["Retry-After"]) > 0


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches may take an hour."""
    monkeypatch.setattr(server, "Database", lambda url, reserve, _seconds: Database(url, reserve, HOUR))
    monkeypatch.setattr(gateway_searches, "ask", partial(rpc.ask, seconds=HOUR))


@pytest.mark.usefixtures("unhurried")
def test_any_number_of_slow_searches_keeps_nobody_else_waiting(
    database_url: str, tmp_path: Path, searching: Searching
) -> None:
    with running(database_url) as status, serving(status.address, tmp_path / "storage") as gateway:
        dataset_id = gateway.submit()
        # Given more searches than are let through, none of which comes to its end
        leave = [leave_http(gateway, status) for _ in range(40)]
        for _ in range(searches.AT_ONCE):
            searching.begun.acquire()
        # When others read and write, then they are answered while those searches are under way
        for _ in range(5):
            assert gateway.get(f"/api/datasets/{dataset_id}").status_code == 200
            assert gateway.get(f"/api/datasets/{dataset_id}/status").status_code == 200
            assert gateway.get("/api/datasets").status_code == 200
            gateway.submit()
        assert searching.ended == []
        for one in leave:
            one()
        until(lambda: len(searching.ended) >= searches.AT_ONCE, "the end of the searches")


@pytest.mark.usefixtures("searching")
def test_each_of_a_crowd_of_slow_searches_is_answered_and_the_log_has_it_once(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(database_url, search_seconds=0.2) as status,
        serving(status.address, tmp_path / "storage") as gateway,
        ThreadPoolExecutor(40) as clients,
    ):
        url = f"{gateway.url}/api/datasets"
        asked: list[Future[requests.Response]] = [
            clients.submit(requests.get, url, params={"q": "any"}, timeout=LIMIT) for _ in range(40)
        ]
        answers = [future.result() for future in asked]
        assert {answer.status_code for answer in answers} == {503}
        codes = {answer.json()["code"] for answer in answers}
        assert "search_too_slow" in codes
        assert codes <= {"search_too_slow", "service_unavailable"}
        assert all("Retry-After" in answer.headers for answer in answers)
    logged = [record.getMessage() for record in caplog.records if record.name == "gateway.http.problems"]
    assert len(logged) <= len(REASONS), logged
    assert not any("\n" in line for line in logged), logged


REASONS = ("too slow", "too many at the gateway", "too many at statussvc")


@pytest.mark.usefixtures("unhurried")
def test_statussvc_has_a_bounded_number_of_searches_wait(database_url: str, searching: Searching) -> None:
    with running(database_url) as status:
        request = pb.ListDatasetsRequest(query="any")
        room = searches.AT_ONCE + searches.QUEUE
        # Given as many as may be under way and wait, and no more
        calls: list[Any] = [status.users.ListDatasets.future(request) for _ in range(room + 1)]
        for _ in range(searches.AT_ONCE):
            searching.begun.acquire()
        # Then one more is refused at once, while the first are at work
        refused = next(call for call in as_done(calls))
        assert code_of(refused.result) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert searching.ended == []
        # And when all have left, then there is room again
        for call in calls:
            call.cancel()
        until(lambda: len(searching.ended) >= searches.AT_ONCE, "the end of the searches")


def as_done(calls: list[Any]) -> Iterator[Any]:
    """Calls in the order of their ends."""
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for call in calls:
        call.add_done_callback(ended.put)
    while True:
        yield ended.get(timeout=LIMIT)


def leave_http(gateway: Gateway, _: Status) -> Callable[[], object]:
    place = urlsplit(gateway.url)
    client = socket.create_connection((place.hostname, place.port))
    client.sendall(f"GET /api/datasets?q=any HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    return client.close


def leave_grpc(_: Gateway, status: Status) -> Callable[[], object]:
    call: Any = status.users.ListDatasets.future(pb.ListDatasetsRequest(query="any"), timeout=HOUR)
    cancel: Callable[[], object] = call.cancel
    return cancel


def run_out_of_time(_: Gateway, status: Status) -> Callable[[], object]:
    call: Any = status.users.ListDatasets.future(pb.ListDatasetsRequest(query="any"), timeout=1)
    return lambda: code_of(call.result) is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("ask", [leave_http, leave_grpc, run_out_of_time])
def test_a_search_is_ended_when_whoever_asked_has_left(
    ask: Callable[[Gateway, Status], Callable[[], object]],
    database_url: str,
    tmp_path: Path,
    searching: Searching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two searches at work, and one that waits
    with running(database_url) as status, serving(status.address, tmp_path / "storage") as gateway:
        leave = [ask(gateway, status) for _ in range(searches.AT_ONCE)]
        for _ in leave:
            searching.begun.acquire()
        leave.append(ask(gateway, status))
        # When all who asked have left
        for one in leave:
            one()
        # Then the database is told to stop
        until(lambda: len(searching.ended) >= searches.AT_ONCE, "the end of the searches")
        # And the threads and connections are free again
        monkeypatch.undo()
        gateway.submit("Here I am")
        for _ in range(searches.AT_ONCE + 1):
            assert found(gateway, "HERE I") == ["Here I am"]
        # And no reader holds SQLite's log
        if database_url.startswith("sqlite"):
            with connected(database_url) as connection:
                assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0


def test_rows_of_before_are_found_after_the_upgrade(database_url: str, tmp_path: Path) -> None:
    # Given a database of the release before, with more rows than a batch, one deleted, and an inspection
    with connected(database_url) as connection:
        config = alembic.config.Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0007")
        for number in range(1, 1203):
            connection.execute(
                text(ROW),
                {
                    "id": f"custom_{number:08x}",
                    "kind": "inspection" if number == 1202 else "dataset",
                    "name": f"Blatt {number}",
                    "description": "ÜBER ALLES" if number % 600 == 1 else "",
                    "deleted": 1.0 if number == 601 else None,
                },
            )
        connection.commit()
    # When the service starts, then they are found as new ones are
    with running(database_url) as status, serving(status.address, tmp_path / "storage") as gateway:
        gateway.submit("Neu", description="über alles")
        assert found(gateway, "über") == found(gateway, "üb") == ["Neu", "Blatt 1201", "Blatt 1"]
        assert found(gateway, "BLATT 120") == ["Blatt 1201", "Blatt 1200", "Blatt 120"]
        gateway.call("DELETE", "/api/datasets/custom_00000001")
        assert found(gateway, "über") == ["Neu", "Blatt 1201"]
    # And a second start changes nothing
    with running(database_url) as status, serving(status.address, tmp_path / "storage") as gateway:
        assert found(gateway, "über") == ["Neu", "Blatt 1201"]


def test_a_sqlite_that_is_too_old_is_named_and_its_database_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'rows.sqlite3'}"
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 33, 0))
    old = Database(url)
    with pytest.raises(StatusUnavailable, match=r"3\.34 or later"):
        old.migrate()
    old.close()
    with connected(url) as connection:
        assert connection.scalar(text("SELECT count(*) FROM sqlite_master")) == 0
    monkeypatch.undo()
    with running(url) as status:
        status.create()


ROW = """
INSERT INTO datasets (dataset_id, kind, expected_sha256, tile_format, tile_quality, page, name, description, category,
                      subject, url, tile_size, state, attempt, crashes, retries, revision, created_at, queued_at,
                      deleted_at)
VALUES (:id, :kind, '', '', 0, 0, :name, :description, '', '', 'https://example.org/a', 256, 'CANCELLED', 1, 0, 0, 1, 1,
        1, :deleted)
"""


def test_sqlite_s_index_of_texts_is_made_by_the_migrations_as_by_the_tables(tmp_path: Path) -> None:
    def migrate(url: str) -> None:
        database = Database(url)
        database.migrate()
        database.close()

    made = []

    def make_all(url: str) -> None:
        with connected(url) as connection:
            metadata.create_all(connection)
            connection.commit()

    for name, make in (("migrated", migrate), ("made", make_all)):
        url = f"sqlite:///{tmp_path / name}"
        make(url)
        with connected(url) as connection:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%dataset_grams%'"))
            made.append(sorted(tuple(row) for row in rows))
    assert len(made[0]) >= 4
    assert made[0] == made[1]


def test_a_gram_is_a_number_of_its_own() -> None:
    grams = ["abc", "acb", "\U0010ffff" * 3, "\x01\x01\x01", "a\x01b", "ab\x01"]
    numbers = {searchable.number(gram) for gram in grams}
    assert len(numbers) == len(grams)
    assert max(numbers) < 2**63
