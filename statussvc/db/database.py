"""Access to the database: one thread that writes and a few that read, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import SearchTooSlow, StatusUnavailable
from statussvc.db.claim import LOST
from statussvc.db.engines import away, engines, out_of_time, patience
from statussvc.db.repository import epochs
from statussvc.db.searches import Searches

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"

READERS = 4


class Database:
    """Runs functions of a Connection in threads, each in one transaction.

    One thread makes all writes. That is fastest on SQLite, and on both databases no call waits for another's row locks.
    Row locks (FOR UPDATE) guard against another service that has lost its claim without knowing it yet.

    Every call is answered within `Engines.patience` seconds, its wait for a thread included. While the database is
    locked, unreachable or frozen, calls become slow and then raise StatusUnavailable.

    Parameters
    ----------
    url: SQLAlchemy's.
    reserve: bytes to keep free on a SQLite file's volume.
    search_seconds: how long a search may take, and how long it may wait for its turn.
    """

    def __init__(self, url: str, reserve: int = 0, search_seconds: float = 3.0) -> None:
        self._engines = engines(url, READERS + 1, reserve, search_seconds)
        file = self._engines.file
        self._searches = Searches(self._engines.searcher, search_seconds, file.check if file else lambda: None)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._epoch: int | None = None

    async def claim(self) -> bool:
        """Make sure that no other service uses the database. Returns whether the claim was taken only now.

        Then call `fence` next. Raises InUse, StatusUnavailable; until the claim is held, every call is refused.
        """

        def hold() -> bool:
            try:
                with patience(time.monotonic() + self._engines.patience):
                    taken = self._engines.claim.hold()
            except DBAPIError as error:
                raise _public_error(error) from error
            if taken:
                self._epoch = None
            return self._epoch is None

        return await asyncio.get_running_loop().run_in_executor(self._write_thread, hold)

    async def fence(self) -> None:
        """Begin a new epoch: a service that had the database before can no longer write to it.

        Raises StatusUnavailable.
        """

        def begin() -> None:
            try:
                with patience(time.monotonic() + self._engines.patience), self._engines.writer.begin() as connection:
                    epoch = epochs.begin(connection)
            except DBAPIError as error:
                raise _public_error(error) from error
            self._epoch = epoch

        await asyncio.get_running_loop().run_in_executor(self._write_thread, begin)

    def is_held(self) -> bool:
        """Whether this service has the database, as far as it can tell without asking it. From any thread."""
        return self._epoch is not None and self._engines.claim.proven()

    def migrate(self) -> None:
        """Bring the schema up to date.

        Raises
        ------
        StatusUnavailable: the database cannot be reached, or a newer version has used it.
        """
        try:
            with self._engines.writer.connect() as connection:
                if self._engines.file is not None:
                    self._engines.file.remember()
                found, known = _revision(connection), _revisions()
                if found == known[-1]:
                    return
                if found and found not in known:
                    raise StatusUnavailable(
                        f"The database was last used by a newer version of Tilewright (its schema is {found}, this "
                        f"version knows {known[-1]}). Start that version, or restore a backup from before the upgrade."
                    )
                import alembic.command  # noqa: PLC0415  # takes longer to load than everything else that a start needs
                import alembic.config  # noqa: PLC0415  # the same

                if connection.dialect.name != "sqlite":
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                config = alembic.config.Config()
                config.set_main_option("script_location", str(MIGRATIONS))
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")
                connection.commit()
        except DBAPIError as error:
            raise _public_error(error) from error

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run a function in one writing transaction, which is durable when this returns.

        Raises
        ------
        StatusUnavailable: the database is unavailable. If only the commit's answer was lost, the transaction counts
            nevertheless, so it must be possible to repeat the function.
        """
        return await self._run(self._write_thread, self._engines.writer, self._fenced(function))

    keep_house = write
    """`write`, for what the service itself and the relay do all the time: tests tell it from what is asked for."""

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run a function in one reading transaction. Raises StatusUnavailable."""
        return await self._run(self._read_threads, self._engines.reader, function)

    async def search(self, function: Callable[[Connection], T]) -> T:
        """Run a function that may take long, without delaying other calls. It ends when the caller is cancelled.

        Raises SearchTooSlow, TooBusy, StatusUnavailable.
        """
        try:
            return await self._searches.run(function)
        except DBAPIError as error:
            if out_of_time(error):
                raise SearchTooSlow("The search took too long.") from error
            raise _public_error(error) from error

    def require_room(self) -> None:
        """Raises StatusUnavailable where the database's volume is too full to accept anything new."""
        if self._engines.file is not None:
            self._engines.file.require_room()

    def close(self) -> None:
        self._write_thread.shutdown(wait=True)
        self._read_threads.shutdown(wait=True)
        self._searches.close()
        self._engines.claim.release()
        self._engines.dispose()

    def _fenced(self, function: Callable[[Connection], T]) -> Callable[[Connection], T]:
        def transaction(connection: Connection) -> T:
            if self._epoch is None or epochs.current(connection) != self._epoch:
                self._epoch = None
                raise StatusUnavailable(LOST)
            return function(connection)

        return transaction

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        engine: Engine,
        function: Callable[[Connection], T],
    ) -> T:
        deadline = time.monotonic() + self._engines.patience
        file = self._engines.file

        def transaction() -> T:
            if file is not None:
                file.check()
            try:
                with patience(deadline), engine.begin() as connection:
                    result = function(connection)
            except DBAPIError as error:
                raise _public_error(error) from error
            if file is not None and threads is self._write_thread:
                file.check_written()
            return result

        return await asyncio.get_running_loop().run_in_executor(threads, transaction)


def _revision(connection: Connection) -> str:
    """The last migration made; "" for none. Read without Alembic, which takes long to load."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")


def _revisions() -> list[str]:
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _public_error(error: DBAPIError) -> Exception:
    if away(error):
        return StatusUnavailable(f"The database is unavailable at the moment: {error.orig}")
    # A DataError too: requests are checked before, so a value that does not fit is a bug of this service.
    return error
