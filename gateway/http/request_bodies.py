"""Limit the bytes of requests that are in memory, over all connections of a gateway.

One body may have 256 KiB and take a minute to arrive, and there may be thousands of connections. A body counts until
its request has a response, because the request may keep it until then. Bytes behind a request that waits are not
parsed yet; up to 256 KiB of them were read at once, and they count until they are parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gateway.http.byte_limit import ByteLimit

MAX_BODIES = 64 * 1024**2
"""Default limit in bytes: 256 of the largest bodies, or a hundred thousand ordinary ones, which have a few hundred
bytes."""


class Connection(Protocol):
    """What this module uses of a connection.

    Attributes
    ----------
    body_bytes: bytes of bodies that were counted; 0 at first.
    unparsed_bytes: bytes behind a request that waits; 0 at first.
    since: when it last made progress, in the event loop's time.
    """

    body_bytes: int
    unparsed_bytes: int
    since: float

    def end_body(self) -> None:
        """Refuse the request whose body was counted, or close the connection if the body has fully arrived."""


class RequestBodies(ByteLimit[Connection]):
    """The bytes of bodies whose requests have no response yet, and of requests that are not parsed yet."""

    MESSAGE = (
        "more than %d bytes of requests in memory: ended the %d requests with the largest (%d more times since "
        "this was last logged); see TILEWRIGHT_MAX_BODIES_BYTES"
    )

    def note(self, connection: Connection, size: int, present: Iterable[Connection]) -> None:
        """Count `size` more bytes of a body, and end the requests with the largest bodies if there are too many.

        Parameters
        ----------
        present: all open connections.
        """
        connection.body_bytes += size
        self._total += size
        if self._total > self._limit:
            self._end_largest(present)

    def note_unparsed(self, connection: Connection, size: int, present: Iterable[Connection]) -> None:
        """Count the connection's `size` unparsed bytes instead of those before, and end requests as `note` does."""
        self._total += size - connection.unparsed_bytes
        connection.unparsed_bytes = size
        if self._total > self._limit:
            self._end_largest(present)

    def forget_body(self, connection: Connection) -> None:
        """No longer count the body of a request that has a response."""
        self._total -= connection.body_bytes
        connection.body_bytes = 0

    def forget(self, connection: Connection) -> None:
        """As ByteLimit.forget."""
        self._total -= self.held(connection)
        connection.body_bytes = connection.unparsed_bytes = 0

    def held(self, connection: Connection) -> int:
        """As ByteLimit.held."""
        return connection.body_bytes + connection.unparsed_bytes

    def end(self, connection: Connection) -> None:
        """As ByteLimit.end."""
        connection.end_body()
