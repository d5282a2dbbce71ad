"""Connections to the database whose every wait is bounded, and which errors mean that it is unavailable."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from pipeline.errors import StatusUnavailable
from statussvc.db.claim import Claim, FileClaim, SessionClaim
from statussvc.db.database_file import DatabaseFile

SQLITE_PATIENCE = 9.0
"""Seconds to wait for another process's lock: just below an rpc's time limit of 10."""

OUR_FAULTS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE)
"""SQLite's primary codes for wrong SQL. Its driver raises OperationalError for them, as it does for a database that is
locked, full or unreadable."""

QUERY_CANCELED = "57014"
"""PostgreSQL's SQLSTATE for a statement that was ended by its time limit or on request."""

_call = threading.local()


@contextmanager
def patience(deadline: float) -> Iterator[None]:
    """Bound every wait of this thread's database calls. Raises StatusUnavailable where the deadline has passed.

    Parameters
    ----------
    deadline: in seconds of the monotonic clock.
    """
    if time.monotonic() >= deadline:
        # The call has waited for its thread all that time, and its caller has given up.
        raise StatusUnavailable("The database did not answer in time.")
    _call.deadline = deadline
    try:
        yield
    finally:
        del _call.deadline


def time_left() -> float | None:
    """Seconds left for this thread's call; None outside of `patience`."""
    deadline: float | None = getattr(_call, "deadline", None)
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def away(error: DBAPIError) -> bool:
    """Whether the database is locked, full, restarting or unreachable, rather than the query wrong."""
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code: https://www.sqlite.org/rescode.html
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return isinstance(error.orig, sqlite3.OperationalError) and code not in OUR_FAULTS
    # On PostgreSQL an OperationalError is about connections, resources, locks, or an operator's intervention.
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def out_of_time(error: DBAPIError) -> bool:
    """Whether a statement was ended by its time limit or on request."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT
    return getattr(error.orig, "sqlstate", None) == QUERY_CANCELED


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines to write, read and search with, and the claim on the database. `file` only with SQLite."""

    writer: Engine
    reader: Engine
    searcher: Engine
    patience: float
    claim: Claim
    file: DatabaseFile | None = None

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()
        self.searcher.dispose()


def engines(url: str, size: int, reserve: int = 0, search_seconds: float = 3.0) -> Engines:
    """Engines for a database.

    Parameters
    ----------
    url: SQLAlchemy's.
    size: most connections at once, without the claim's and the searches'.
    reserve: bytes to keep free on a SQLite file's volume: see DatabaseFile.
    search_seconds: how long PostgreSQL lets a search take.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        claim, file = FileClaim(path), DatabaseFile(path, reserve)
        writer, reader = _sqlite(parsed, immediate=True), _sqlite(parsed, immediate=False)
        searcher = _sqlite(parsed, immediate=False)
        return Engines(writer, reader, searcher, SQLITE_PATIENCE, claim, file)
    from statussvc.db import postgres  # noqa: PLC0415  # loading psycopg takes a tenth of a second, which the embedded stack saves

    engine = postgres.engine(parsed, size, time_left)
    searcher = postgres.engine(parsed, size, time_left, search_seconds)
    return Engines(engine, engine, searcher, postgres.PATIENCE, SessionClaim(engine))


def _sqlite(url: URL, *, immediate: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_PATIENCE, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # Keeps the driver from beginning transactions: `begin` does that.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # an accepted POST survives a power cut
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        left = time_left()
        if left is not None:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={left * 1000:.0f}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
