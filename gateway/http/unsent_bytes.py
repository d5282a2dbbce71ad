"""Limit the bytes of responses that clients have not read, over all connections of a gateway.

A large response costs a client a short request, and this process its bytes until the client has read them. The time
limit of `gateway.http.limits` ends a client that reads nothing, but many such clients fit into that time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from pipeline.logs import Repeats

MAX_UNSENT = 256 * 1024**2
"""Default limit in bytes: 25 KiB for each of 10,000 connections. A client that reads leaves nothing here for long."""

LEFT = 3 / 4
"""Share of the limit that is left after connections were closed, so that not every response closes one."""

logger = logging.getLogger(__name__)


class Connection(Protocol):
    """What this module uses of a connection.

    Attributes
    ----------
    transport: the connection's transport.
    held: bytes that were last counted; 0 at first.
    since: when it last made progress, in the event loop's time.
    """

    transport: asyncio.Transport
    held: int
    since: float


class Unsent:
    """The bytes that wait to be sent.

    Parameters
    ----------
    limit: maximum bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._repeats = Repeats()

    def note(self, connection: Connection, present: Iterable[Connection]) -> None:
        """Count a connection's bytes after a response was written, and close connections if there are too many bytes.

        Parameters
        ----------
        present: all open connections.
        """
        self._total += _count(connection)
        if self._total > self._limit:
            self.limit(present)

    def forget(self, connection: Connection) -> None:
        """No longer count a connection that was closed."""
        self._total -= connection.held
        connection.held = 0

    def limit(self, present: Iterable[Connection]) -> None:
        """Count all connections. If there are too many bytes, close the connections that hold most of them."""
        connections = list(present)
        for one in connections:
            _count(one)
        self._total = sum(one.held for one in connections)
        if self._total <= self._limit:
            return
        closed = 0
        for one in sorted(connections, key=lambda one: (-one.held, one.since)):
            if self._total <= self._limit * LEFT:
                break
            self.forget(one)
            one.transport.abort()
            closed += 1
        if (left_out := self._repeats.left_out("unsent")) is not None:
            logger.warning(
                "clients had not read more than %d bytes of their responses: closed the %d connections with the most "
                "(%d more times since this was last logged); see TILEWRIGHT_MAX_UNSENT_BYTES",
                self._limit,
                closed,
                left_out,
            )


def _count(connection: Connection) -> int:
    """Count a connection's bytes again. Return the difference.

    A body is freed once all of it is sent, so what was sent of it still counts until nothing is left.
    """
    before = connection.held
    unsent = connection.transport.get_write_buffer_size()
    connection.held = max(before, unsent) if unsent else 0
    return connection.held - before
