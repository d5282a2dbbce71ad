"""Only one statussvc may use a database: a second would receive no heartbeats of the runs, and expire them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import StatusUnavailable
from pipeline.file_lock import Held, holding

LOCK = 7453098
"""The number of the PostgreSQL advisory lock that the service holds. Any constant will do."""

KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""Has PostgreSQL end the session of a vanished machine after 25 seconds, rather than TCP's default of two hours."""

ADVICE = (
    "Only one statussvc can use a database. Stop the other one, or set TILEWRIGHT_DATABASE_URL to another database."
)


class InUse(Exception):
    """Raised when another service uses the database. Its argument says what to do."""


LOST = "This statussvc has lost its claim on the database, and tries to claim it again."

PROOF_SECONDS = 20.0
"""Seconds for which a round trip proves that the session is alive: fewer than the 25 after which PostgreSQL ends the
session of a client that it cannot reach."""

GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL
"""What poll(2) reports for a connection that the other end has closed."""


class Claim(Protocol):
    """The exclusive right to use a database. Methods other than `proven` are for one thread."""

    def hold(self) -> bool:
        """Take the claim, or check that it is held. Returns whether it was taken only now.

        Raises InUse, StatusUnavailable, and the database's own errors; then it is not held.
        """

    def proven(self) -> bool:
        """Whether the claim is held, as far as this process can tell without a round trip. From any thread."""

    def release(self) -> None:
        """Give the claim up."""


class FileClaim:
    """For SQLite: a lock on a file beside the database's."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._stack = ExitStack()
        self._held = False

    def hold(self) -> bool:
        if self._held:
            return False
        try:
            self._stack.enter_context(holding(self._database.with_name(f"{self._database.name}.lock")))
        except Held as error:
            process = error.args[0].process or "unknown"
            raise InUse(f"The database {self._database} is in use by process {process}. {ADVICE}") from error
        except OSError as error:
            raise StatusUnavailable(f"The database {self._database} cannot be used: {error.strerror}") from error
        self._held = True
        return True

    def proven(self) -> bool:
        return self._held

    def release(self) -> None:
        self._held = False
        self._stack.close()


class SessionClaim:
    """For PostgreSQL: an advisory lock, held by a session that stays open as long as the service runs.

    When the server restarts the session is lost, and `hold` opens a new one.

    Parameters
    ----------
    clock: monotonic seconds.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._session: Connection | None = None
        self._socket = -1
        self._proven_at = 0.0

    def hold(self) -> bool:
        if self._session is not None:
            try:
                began = self._clock()
                self._session.execute(text("SELECT 1"))
            except DBAPIError:
                self._close()
            else:
                self._proven_at = began
                return False
        began = self._clock()
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        number: int = session.connection.driver_connection.fileno()  # type: ignore[union-attr]
        session.detach()  # not returned to the pool: the lock belongs to the session
        if not self._lock(session):
            session.close()
            raise InUse(f"The database {self._engine.url.database} is in use by another statussvc. {ADVICE}")
        # A duplicate, since the session's own descriptor may be closed, and its number reused, at any time.
        self._socket = os.dup(number)
        self._session, self._proven_at = session, began
        return True

    def proven(self) -> bool:
        if self._session is None or self._clock() - self._proven_at > PROOF_SECONDS:
            return False
        looked = select.poll()
        looked.register(self._socket, GONE)
        return not looked.poll(0)

    @staticmethod
    def _lock(session: Connection) -> bool:
        try:
            session.execute(text(KEEPALIVE))
            return bool(session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}))
        except BaseException:
            session.close()
            raise

    def release(self) -> None:
        if self._session is not None and self.proven():
            # The server notices a closed session only after a while, and the next service should not have to wait.
            with suppress(DBAPIError):
                self._session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        self._close()

    def _close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()
            os.close(self._socket)
