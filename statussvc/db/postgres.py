"""PostgreSQL connections whose every wait is bounded: for a connection, the network, a lock or a frozen server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, event

T = TypeVar("T")

TimeLeft = Callable[[], "float | None"]
"""Returns the seconds left for this thread's call; None where it may take any time."""

PATIENCE = 7.0
"""Seconds that a transaction may take. With libpq's shortest wait for a new connection (2), below an rpc's 10."""

CONNECT_TIMEOUT = 5
"""Seconds to connect outside of a call, at the start."""

# A frozen server still acknowledges packets, so TCP's limits do not notice it, and _Bounded limits the client's waits.
# The server limits statements that wait for a lock, and transactions of a vanished service, which would otherwise keep
# their locks for TCP's two hours.
OPTIONS = "-c statement_timeout={1:.0f} -c idle_in_transaction_session_timeout={0:.0f}"
TCP = {
    # Milliseconds within which sent bytes must be acknowledged: else the machine or the network is gone.
    "tcp_user_timeout": int(PATIENCE * 1000),
    # Seconds, seconds, and a number: an idle connection whose other end is gone is noticed within 25 s.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class _Bounded(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer in the time left."""

    time_left: TimeLeft = staticmethod(lambda: None)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, self.time_left() if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # as the method's docstring says
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from error


def engine(url: URL, size: int, time_left: TimeLeft, statement_seconds: float = PATIENCE) -> Engine:
    """An engine whose every wait ends when no time is left.

    Parameters
    ----------
    size: most connections at once.
    statement_seconds: how long the server lets a statement take.
    """
    bounds = OPTIONS.format(PATIENCE * 1000, max(1.0, statement_seconds * 1000))  # 0 would mean no limit
    options = f"{url.query.get('options', '')} {bounds}".strip()
    # Each connection is checked before use, so that no call fails because PostgreSQL was restarted.
    made = create_engine(url, pool_pre_ping=True, pool_size=size, connect_args={**TCP, "options": options})

    @event.listens_for(made, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, keywords: dict[str, Any]) -> psycopg.Connection[Any]:
        left = time_left()
        if left == 0.0:
            raise psycopg.OperationalError("the server does not answer")
        # libpq takes whole seconds, and at least 2.
        keywords["connect_timeout"] = CONNECT_TIMEOUT if left is None else max(2, int(left))
        connection = _Bounded.connect(*arguments, **keywords)
        connection.time_left = time_left
        return connection

    return made
