"""Limit the bytes of requests that are in memory, over all connections of a gateway.

One body may have 256 KiB and take a minute to arrive, and there may be thousands of connections. A body counts until
its request has a response, because the request may keep it until then. Bytes behind a request that waits are not
parsed yet; up to 256 KiB of them were read at once, and they count until they are parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from pipeline.logs import Repeats

MAX_BODIES = 64 * 1024**2
"""Default limit in bytes: 256 of the largest bodies, or a hundred thousand ordinary ones, which have a few hundred
bytes."""

LEFT = 3 / 4
"""Share of the limit that is left after requests were ended, so that not every piece of a body ends one."""

logger = logging.getLogger(__name__)


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


class RequestBodies:
    """The bytes of bodies whose requests have no response yet, and of requests that are not parsed yet.

    Parameters
    ----------
    limit: maximum bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._repeats = Repeats()

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
        """No longer count a connection that was closed."""
        self._total -= _held(connection)
        connection.body_bytes = connection.unparsed_bytes = 0

    def _end_largest(self, present: Iterable[Connection]) -> None:
        ended = 0
        for one in sorted(present, key=lambda one: (-_held(one), one.since)):
            if self._total <= self._limit * LEFT or not _held(one):
                break
            self.forget(one)
            one.end_body()
            ended += 1
        if (left_out := self._repeats.left_out("bodies")) is not None:
            logger.warning(
                "more than %d bytes of requests in memory: ended the %d requests with the largest (%d more times since "
                "this was last logged); see TILEWRIGHT_MAX_BODIES_BYTES",
                self._limit,
                ended,
                left_out,
            )


def _held(connection: Connection) -> int:
    return connection.body_bytes + connection.unparsed_bytes
