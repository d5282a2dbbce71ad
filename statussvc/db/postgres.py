"""PostgreSQL, with a bound on every wait: for a connection, for the network, for a lock, and for a frozen server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, event

T = TypeVar("T")

TimeLeft = Callable[[], "float | None"]
"""Seconds left to this thread's call; None where it may take any time."""

PATIENCE = 7.0
"""Seconds a transaction may take: with libpq's least wait for a new connection, 2 more, it stays below the rpc's 10."""

CONNECT_TIMEOUT = 5
"""Seconds to connect where no call waits, at the start."""

# A frozen server still acknowledges packets, so that TCP's own limits do not see it: the client's wait is bounded
# as well. What the server bounds itself is a statement that waits for a lock, and a service that vanished inside a
# transaction and would hold its locks for TCP's two hours.
OPTIONS = "-c statement_timeout={1:.0f} -c idle_in_transaction_session_timeout={0:.0f}"
TCP = {
    # Milliseconds until sent bytes must be acknowledged: the machine or the network is gone.
    "tcp_user_timeout": int(PATIENCE * 1000),
    # Seconds, and a number: an idle connection whose other end is gone is found out in 25 s.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class _Bounded(psycopg.Connection[Any]):
    """A connection that is given up on when the server does not answer in the time left."""

    time_left: TimeLeft = staticmethod(lambda: None)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, self.time_left() if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # as the method's docstring says
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from error


def engine(url: URL, size: int, time_left: TimeLeft, statement_seconds: float = PATIENCE) -> Engine:
    """An engine with up to `size` connections at once, whose every wait ends when no time is left.

    Parameters
    ----------
    statement_seconds: after which the server ends a statement.
    """
    bounds = OPTIONS.format(PATIENCE * 1000, max(1.0, statement_seconds * 1000))  # 0 would be no bound
    options = f"{url.query.get('options', '')} {bounds}".strip()
    # Each connection is tried before it is used, so that a restart of PostgreSQL costs no call its answer.
    made = create_engine(url, pool_pre_ping=True, pool_size=size, connect_args={**TCP, "options": options})

    @event.listens_for(made, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, keywords: dict[str, Any]) -> psycopg.Connection[Any]:
        left = time_left()
        if left == 0.0:
            raise psycopg.OperationalError("the server does not answer")
        # Whole seconds, at least 2: libpq's own rule.
        keywords["connect_timeout"] = CONNECT_TIMEOUT if left is None else max(2, int(left))
        connection = _Bounded.connect(*arguments, **keywords)
        connection.time_left = time_left
        return connection

    return made
