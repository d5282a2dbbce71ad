"""The way to the rows: one writer thread, a few readers, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import StatusUnavailable

T = TypeVar("T")

BUSY_TIMEOUT = 9.0
"""Seconds to wait for another process' lock on SQLite: just below the rpc's own time limit of 10."""

MIGRATION_LOCK = 7453098
"""Any constant: the PostgreSQL advisory lock under which one of several starting services migrates."""

READERS = 4


class Database:
    """Runs functions of a Connection in threads, each in one transaction.

    All writes go through one thread: on SQLite that is the fastest way there is, and on both it means
    that two calls of one service never wait for each other's row locks. Row locks (FOR UPDATE) guard
    against a second service during a deployment.
    """

    def __init__(self, url: str) -> None:
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        self._writer = _engine(url, immediate=True)
        self._reader = _engine(url, immediate=False) if self.sqlite else self._writer
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")

    def migrate(self) -> None:
        """Brings the schema up to date. Raises StatusUnavailable where the database cannot be reached."""
        try:
            with self._writer.connect() as connection:
                if not self.sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
                config = alembic.config.Config()
                config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")
                connection.commit()
        except DBAPIError as error:
            raise _explain(error) from error

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Runs a function in one writing transaction, durable when this returns."""
        return await self._run(self._write_thread, self._writer, function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Runs a function in one reading transaction."""
        return await self._run(self._read_threads, self._reader, function)

    def close(self) -> None:
        self._write_thread.shutdown(wait=True)
        self._read_threads.shutdown(wait=True)
        self._writer.dispose()
        self._reader.dispose()

    async def _run(self, threads: ThreadPoolExecutor, engine: Engine, function: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            try:
                with engine.begin() as connection:
                    return function(connection)
            except DBAPIError as error:
                raise _explain(error) from error

        return await asyncio.get_running_loop().run_in_executor(threads, transaction)


def _explain(error: DBAPIError) -> Exception:
    # Locked, full or away: it may pass. Anything else is a fault of ours and stays what it is.
    if error.connection_invalidated or type(error).__name__ in ("OperationalError", "InterfaceError"):
        return StatusUnavailable(f"the database cannot be used: {error.orig}")
    return error


def _engine(url: str, *, immediate: bool) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=READERS + 1, connect_args={"connect_timeout": 5})
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: BEGIN IMMEDIATE below does.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # keeps an accepted POST through a power cut
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
