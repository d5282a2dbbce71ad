"""Which errors of the database mean that it is away, and which that it was asked wrongly."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import StatusUnavailable
from statussvc.db.engines import away, patience


def raised(error: Exception, *, invalidated: bool = False) -> DBAPIError:
    wrapped = DBAPIError.instance("SELECT 1", {}, error, psycopg.Error, connection_invalidated=invalidated)
    assert isinstance(wrapped, DBAPIError)
    return wrapped


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.AdminShutdown(),
        psycopg.errors.CannotConnectNow(),
        psycopg.errors.ConnectionFailure(),
        psycopg.errors.DeadlockDetected(),
        psycopg.errors.DiskFull(),
        psycopg.errors.LockNotAvailable(),
        psycopg.errors.QueryCanceled(),
        psycopg.errors.SerializationFailure(),
        psycopg.errors.TooManyConnections(),
        psycopg.InterfaceError("the connection is closed"),
        psycopg.OperationalError("connection refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_postgres_is_away(error: Exception) -> None:
    assert away(raised(error))


@pytest.mark.parametrize(
    "error",
    [psycopg.errors.UndefinedTable(), psycopg.errors.UniqueViolation(), psycopg.errors.StringDataRightTruncation()],
    ids=lambda error: type(error).__name__,
)
def test_postgres_was_asked_wrongly(error: Exception) -> None:
    assert not away(raised(error))
    # Unless the connection went with it: then it was the server's end
    assert away(raised(error, invalidated=True))


def test_sqlite_that_is_locked_is_away_and_one_without_the_table_was_asked_wrongly(tmp_path: Path) -> None:
    path = tmp_path / "rows.sqlite3"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.01})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE rows (a INTEGER)"))
    # Given another process' lock
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DBAPIError) as locked, engine.begin() as connection:
        connection.execute(text("INSERT INTO rows VALUES (1)"))
    other.close()
    assert away(locked.value)
    with pytest.raises(DBAPIError) as wrong, engine.begin() as connection:
        connection.execute(text("INSERT INTO no_such_table VALUES (1)"))
    assert not away(wrong.value)
    engine.dispose()


def test_sqlite_whose_folder_is_gone_is_away(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'gone' / 'rows.sqlite3'}")
    with pytest.raises(DBAPIError) as gone:
        engine.connect()
    assert away(gone.value)


def test_a_call_whose_time_is_over_before_its_turn_is_not_made() -> None:
    with pytest.raises(StatusUnavailable), patience(deadline=0.0):
        pytest.fail("it was made")
