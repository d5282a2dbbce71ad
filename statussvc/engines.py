"""Connections to SQLite and PostgreSQL that never wait for longer than their patience, and what counts as away."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from pipeline.errors import StatusUnavailable

T = TypeVar("T")

SQLITE_PATIENCE = 9.0
"""Seconds to wait for another process' lock: just below the rpc's own time limit of 10."""

POSTGRES_PATIENCE = 7.0
"""Seconds a transaction may take: libpq waits for a new connection at least 2 more, and both stay below 10."""

CONNECT_TIMEOUT = 5
"""Seconds to connect where no call waits, at the start."""

OUR_FAULTS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE)
"""SQLite's primary codes for wrong SQL, which its driver calls OperationalError like those of a machine that is
locked, full or unreadable."""

# A frozen server still acknowledges packets, so that TCP's own limits do not see it: the client's wait is bounded
# as well. What the server bounds itself is a statement that waits for a lock, and a service that vanished inside a
# transaction and would hold its locks for TCP's two hours.
POSTGRES_OPTIONS = "-c statement_timeout={0:.0f} -c idle_in_transaction_session_timeout={0:.0f}".format(
    POSTGRES_PATIENCE * 1000
)
POSTGRES_TCP = {
    # Milliseconds until sent bytes must be acknowledged: the machine or the network is gone.
    "tcp_user_timeout": int(POSTGRES_PATIENCE * 1000),
    # Seconds, and a number: an idle connection whose other end is gone is found out in 25 s.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

_call = threading.local()


@contextmanager
def patience(deadline: float) -> Iterator[None]:
    """Bounds every wait of this thread's database calls. Raises StatusUnavailable when the time is over already.

    Parameters
    ----------
    deadline: of the monotonic clock.
    """
    if time.monotonic() >= deadline:
        # Waited for its thread all the time. A caller that has been given up on must not be served later.
        raise StatusUnavailable("The database did not answer in time.")
    _call.deadline = deadline
    try:
        yield
    finally:
        del _call.deadline


def _left() -> float | None:
    """Seconds left to this thread's call; None outside of `patience`."""
    deadline: float | None = getattr(_call, "deadline", None)
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def away(error: DBAPIError) -> bool:
    """Whether the database is locked, full, restarting or unreachable, which may pass, and not asked wrongly."""
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code: https://www.sqlite.org/rescode.html
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return isinstance(error.orig, sqlite3.OperationalError) and code not in OUR_FAULTS
    # psycopg's OperationalError covers connections, resources, locks, and the operator's intervention.
    return error.connection_invalidated or isinstance(error.orig, (psycopg.OperationalError, psycopg.InterfaceError))


@dataclass(frozen=True, slots=True)
class Engines:
    """How to write and how to read."""

    writer: Engine
    reader: Engine
    patience: float

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def engines(url: str, size: int) -> Engines:
    """Engines for a URL of SQLAlchemy's, with up to `size` connections at once."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return Engines(_sqlite(parsed, immediate=True), _sqlite(parsed, immediate=False), SQLITE_PATIENCE)
    engine = _postgres(parsed, size)
    return Engines(engine, engine, POSTGRES_PATIENCE)


def _sqlite(url: URL, *, immediate: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_PATIENCE, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: BEGIN IMMEDIATE below does.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # keeps an accepted POST through a power cut
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        left = _left()
        if left is not None:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={left * 1000:.0f}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


class _Bounded(psycopg.Connection[Any]):
    """A connection that is given up on when the server does not answer before the call's deadline."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, _left() if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # as the method's docstring says
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from error


def _postgres(url: URL, size: int) -> Engine:
    options = f"{url.query.get('options', '')} {POSTGRES_OPTIONS}".strip()
    # Each connection is tried before it is used, so that a restart of PostgreSQL costs no call its answer.
    engine = create_engine(url, pool_pre_ping=True, pool_size=size, connect_args={**POSTGRES_TCP, "options": options})

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, keywords: dict[str, Any]) -> psycopg.Connection[Any]:
        left = _left()
        if left == 0.0:
            raise psycopg.OperationalError("the server does not answer")
        # Whole seconds, at least 2: libpq's own rule.
        keywords["connect_timeout"] = CONNECT_TIMEOUT if left is None else max(2, int(left))
        return _Bounded.connect(*arguments, **keywords)

    return engine
