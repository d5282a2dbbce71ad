"""One statussvc on a database: a second would hear none of the beats that the first hears, and end its runs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import StatusUnavailable
from pipeline.file_lock import Held, holding

LOCK = 7453098
"""Any constant: the PostgreSQL advisory lock that the one service holds by its session."""

KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""PostgreSQL is to let go of a holder whose machine has vanished after 25 seconds, and not after TCP's two hours."""

ADVICE = "One serves a database: stop that one, or set TILEWRIGHT_DATABASE_URL to another."


class InUse(Exception):
    """Raised when another service has the database; says what to do."""


class Claim(Protocol):
    """The right to a database."""

    def hold(self) -> None:
        """Takes it, or makes sure of it. Raises InUse, StatusUnavailable, and the database's own errors."""

    def release(self) -> None:
        """Gives it back."""


class FileClaim:
    """On SQLite's file, by a lock on a file beside it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._stack = ExitStack()
        self._held = False

    def hold(self) -> None:
        if self._held:
            return
        try:
            self._stack.enter_context(holding(self._database.with_name(f"{self._database.name}.lock")))
        except Held as error:
            process = error.args[0].process or "unknown"
            raise InUse(f"The database {self._database} is in use by process {process}. {ADVICE}") from error
        except OSError as error:
            raise StatusUnavailable(f"The database {self._database} cannot be used: {error.strerror}") from error
        self._held = True

    def release(self) -> None:
        self._held = False
        self._stack.close()


class SessionClaim:
    """On a PostgreSQL database, by an advisory lock of a session that lives as long as the service.

    The session is lost with the server's restart, and is then taken anew.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Connection | None = None

    def hold(self) -> None:
        if self._session is not None:
            try:
                self._session.execute(text("SELECT 1"))
                return
            except DBAPIError:
                self.release()
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.detach()  # never another's: the lock is the session's
        if not self._lock(session):
            session.close()
            raise InUse(f"The database {self._engine.url.database} is in use by another statussvc. {ADVICE}")
        self._session = session

    @staticmethod
    def _lock(session: Connection) -> bool:
        try:
            session.execute(text(KEEPALIVE))
            return bool(session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}))
        except BaseException:
            session.close()
            raise

    def release(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()


class NoClaim:
    """On a database that no other process can reach: SQLite in memory."""

    def hold(self) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do."""
