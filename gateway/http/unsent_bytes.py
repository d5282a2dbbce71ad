"""Limit the bytes of responses that clients have not read, over all connections of a gateway.

A large response costs a client a short request, and this process its bytes until the client has read them. The time
limit of `gateway.http.limits` ends a client that reads nothing, but many such clients fit into that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from gateway.http.byte_limit import ByteLimit

MAX_UNSENT = 256 * 1024**2
"""Default limit in bytes: 25 KiB for each of 10,000 connections. A client that reads leaves nothing here for long."""


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


class Unsent(ByteLimit[Connection]):
    """The bytes that wait to be sent."""

    MESSAGE = (
        "clients had not read more than %d bytes of their responses: closed the %d connections with the most "
        "(%d more times since this was last logged); see TILEWRIGHT_MAX_UNSENT_BYTES"
    )

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
        """As ByteLimit.forget."""
        self._total -= connection.held
        connection.held = 0

    def held(self, connection: Connection) -> int:
        """As ByteLimit.held."""
        return connection.held

    def end(self, connection: Connection) -> None:
        """As ByteLimit.end."""
        connection.transport.abort()

    def limit(self, present: Iterable[Connection]) -> None:
        """Count all connections. If there are too many bytes, close the connections that hold most of them."""
        connections = list(present)
        for one in connections:
            _count(one)
        self._total = sum(one.held for one in connections)
        if self._total > self._limit:
            self._end_largest(connections)


def _count(connection: Connection) -> int:
    """Count a connection's bytes again. Return the difference.

    A body is freed once all of it is sent, so what was sent of it still counts until nothing is left.
    """
    before = connection.held
    unsent = connection.transport.get_write_buffer_size()
    connection.held = max(before, unsent) if unsent else 0
    return connection.held - before
