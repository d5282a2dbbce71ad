"""One statussvc on a database: a second would hear none of the beats that the first hears, and end its runs."""

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
"""Any constant: the PostgreSQL advisory lock that the one service holds by its session."""

KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""PostgreSQL is to let go of a holder whose machine has vanished after 25 seconds, and not after TCP's two hours."""

ADVICE = "One serves a database: stop that one, or set TILEWRIGHT_DATABASE_URL to another."


class InUse(Exception):
    """Raised when another service has the database; says what to do."""


LOST = "This statussvc has lost its claim to the database, and tries to take it again."

PROOF_SECONDS = 20.0
"""Seconds for which a round trip proves that the session lives: below the 25 after which PostgreSQL lets go of a holder
it cannot reach."""

GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL
"""What poll(2) says of a connection whose other end has closed it."""


class Claim(Protocol):
    """The right to a database. All but `proven` are for one thread."""

    def hold(self) -> bool:
        """Takes it, or makes sure of it; gives whether it was taken only now.

        Raises InUse, StatusUnavailable, and the database's own errors; then it is not held.
        """

    def proven(self) -> bool:
        """Whether it is held for all that can be known at once. From any thread."""

    def release(self) -> None:
        """Gives it back."""


class FileClaim:
    """On SQLite's file, by a lock on a file beside it."""

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
    """On a PostgreSQL database, by an advisory lock of a session that lives as long as the service.

    The session is lost with the server's restart, and is then taken anew.

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
        session.detach()  # never another's: the lock is the session's
        if not self._lock(session):
            session.close()
            raise InUse(f"The database {self._engine.url.database} is in use by another statussvc. {ADVICE}")
        # A descriptor of its own: the session's may be closed, and its number given to another, at any time.
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
            # The server ends a session some time after its client has, and whoever comes next is not to wait for that.
            with suppress(DBAPIError):
                self._session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        self._close()

    def _close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()
            os.close(self._socket)
