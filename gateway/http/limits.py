"""Limits that all connections of a gateway share: how many there are, and how long each may take.

uvicorn has none of these limits; gateway.http.limited_protocol applies them to one connection.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from gateway.http.request_bodies import MAX_BODIES, RequestBodies
from gateway.http.unsent_bytes import MAX_UNSENT, Unsent
from pipeline.logs import Repeats

if TYPE_CHECKING:
    from uvicorn.protocols.http.flow_control import FlowControl

SWEEP = 1.0
"""Seconds between two checks for late clients."""

IDLE_SHARE = 20
"""To make room, one in this many idle connections is closed: those that have been idle for the longest."""

logger = logging.getLogger(__name__)


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    RESPONSE = "its response"


class Connection(Protocol):
    """What this module uses of a connection.

    Attributes
    ----------
    transport: the connection's transport.
    flow: uvicorn's record of what is paused.
    phase: what the connection waits for.
    since: when it last made progress, in the event loop's time.
    held: bytes that `Unsent` last counted.
    is_half_closed: whether the client sends nothing more.
    """

    transport: asyncio.Transport
    flow: FlowControl
    phase: Phase
    since: float
    held: int
    is_half_closed: bool

    def note_half_closed(self) -> None:
        """Note that the client sends nothing more."""

    def hold_to_time(self, now: float, limits: Limits) -> None:
        """Refuse a request that arrives too slowly, and disconnect a client that reads nothing."""


@dataclass
class Limits:
    """The limits that all connections of a gateway share.

    Parameters
    ----------
    connections: maximum number of connections.
    head_timeout: seconds for a request's headers, from its first byte or from the connection's beginning.
    body_timeout: seconds for a request's body; also for a client to read some of its response.
    unsent: counts the bytes of responses that clients have not read.
    bodies: counts the bytes of request bodies.
    """

    connections: int
    head_timeout: float
    body_timeout: float
    unsent: Unsent = field(default_factory=lambda: Unsent(MAX_UNSENT))
    bodies: RequestBodies = field(default_factory=lambda: RequestBodies(MAX_BODIES))
    _repeats: Repeats = field(default_factory=Repeats, repr=False)

    def make_room(self, present: Iterable[Connection]) -> bool:
        """Close the connections that have been idle for the longest. Return whether there were any."""
        idle = sorted((one for one in present if one.phase is Phase.IDLE), key=lambda one: one.since)
        for one in idle[: -(-len(idle) // IDLE_SHARE)]:
            one.transport.close()
        return bool(idle)

    def note_full(self) -> None:
        """Log that clients are refused, but not for each of them."""
        if (left_out := self._repeats.left_out("full")) is not None:
            logger.warning(
                "more than %d connections: new ones are refused with 503 (%d more since this was last logged); see "
                "TILEWRIGHT_MAX_CONNECTIONS",
                self.connections,
                left_out,
            )

    def sweep(self, present: Iterable[Connection], now: float) -> None:
        """Refuse late requests, and close connections whose client has disconnected or reads too little."""
        connections = list(present)
        self._end_left(connections)
        self.unsent.limit(connections)
        for one in connections:
            one.hold_to_time(now, self)

    @staticmethod
    def _end_left(connections: Iterable[Connection]) -> None:
        # While a request waits for its turn its connection is not read, so asyncio does not notice a disconnect.
        left, unread = select.poll(), {}
        for one in connections:
            socket = one.transport.get_extra_info("socket")
            if (one.flow.read_paused or one.is_half_closed) and socket is not None and socket.fileno() >= 0:
                unread[socket.fileno()] = one
                left.register(socket.fileno(), 0 if one.is_half_closed else select.POLLRDHUP)
        for descriptor, events in left.poll(0) if unread else ():
            if events == select.POLLRDHUP:
                unread[descriptor].note_half_closed()
            else:
                unread[descriptor].transport.abort()
