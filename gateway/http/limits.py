"""What a client may cost before its request is one: bytes of a head, fields, time, and a connection.

uvicorn has none of these limits. They are held where bytes come in, before any is kept. What is used of uvicorn here
(attributes and callbacks) it does not promise: the locks hold its version, and tests try each limit by raw sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http import problems
from pipeline.logs import Repeats

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers together, and of what stands between the parts of a body: nobody needs more."""

MAX_FIELDS = 100
"""Headers of one request, as in Apache and gunicorn."""

PIECE = 8 * 1024
"""Bytes of a head that are handed to the parser at once: by so many the limit may be overstepped."""

LINGER = 1.0
"""Seconds between a refusal and the connection's end. What the client still sends is not read: closing at once would
reset the connection, and the answer might be lost with it."""

SWEEP = 1.0
"""Seconds between two looks at who is late."""

IDLE_SHARE = 20
"""One in so many idle connections is closed to make room, those that have been idle for the longest."""

UNREADABLE = "Malformed HTTP request. Check the client, or a proxy in between."
NO_HOST = "A request needs exactly one Host header. Check the client, or a proxy in between."
LONG_URL = f"The address is longer than {MAX_HEAD // 1024} KiB."
LONG_HEAD = (
    f"The headers are larger than {MAX_HEAD // 1024} KiB, or more than {MAX_FIELDS}. Are there too many cookies?"
)
LATE = "The request did not arrive in time. Send it again, or check the network."
FULL = "Too many connections. Try again later."

logger = logging.getLogger(__name__)


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    ANSWER = "its answer"


class _Answered:
    """Stands in the place of uvicorn's request for one that was answered already: what is asked of one that is over."""

    response_complete = True
    message_event = asyncio.Event()


ANSWERED = cast("RequestResponseCycle", _Answered)

_NO_REQUEST = {"type": "http", "path": "", "headers": []}


@dataclass
class Limits:
    """What all connections of one gateway share.

    Parameters
    ----------
    connections: at most.
    head_timeout: seconds for a request's head, from its first byte, or from the connection's beginning.
    body_timeout: seconds for its body; also for the client to take any part of an answer.
    """

    connections: int
    head_timeout: float
    body_timeout: float
    _repeats: Repeats = field(default_factory=Repeats, repr=False)

    def make_room(self, present: Iterable[LimitedProtocol]) -> bool:
        """Close the connections that have been idle for the longest; gives whether there were any."""
        idle = sorted((one for one in present if one.phase is Phase.IDLE), key=lambda one: one.since)
        for one in idle[: -(-len(idle) // IDLE_SHARE)]:
            one.transport.close()
        return bool(idle)

    def note_full(self) -> None:
        """Log that clients are refused, once in a while."""
        if (left_out := self._repeats.left_out("full")) is not None:
            logger.warning(
                "more than %d connections: new ones are refused with 503 (%d were since this was last said); see "
                "TILEWRIGHT_MAX_CONNECTIONS",
                self.connections,
                left_out,
            )

    def sweep(self, present: Iterable[LimitedProtocol], now: float) -> None:
        """Refuse those that are late."""
        for one in list(present):
            one.hold_to_time(now, self)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limits` is set by a subclass for one gateway."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        self.phase = Phase.HEAD
        self.since = self.loop.time()
        self._begun = False
        self._no_body = 0
        self._fields_left_out = False
        self._refused = False
        self._unsent = 0
        super().connection_made(transport)
        connections = cast("set[LimitedProtocol]", self.connections)
        if len(connections) > self.limits.connections and not self.limits.make_room(connections):
            self.limits.note_full()
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "service_unavailable", FULL, {"Retry-After": "5"})

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser, unless there are too many that belong to no body."""
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._begun = True
        while data and not self._refused and not self.transport.is_closing():
            piece, data = (data, b"") if len(data) <= PIECE else (data[:PIECE], data[PIECE:])
            self._no_body += len(piece)
            if self._no_body > MAX_HEAD + PIECE:
                self._refuse_head(long_url=self.phase is Phase.HEAD and not self.headers)
                return
            super().data_received(piece)

    def on_message_begin(self) -> None:
        """Note that a request begins. What uvicorn makes then it makes only where the request goes the long way."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._fields_left_out = False
        self._no_body = 0
        self._enter(Phase.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, if it is none too many, and none of those behind a body, which nobody reads."""
        if self.phase is not Phase.HEAD:
            return
        if len(self.headers) >= MAX_FIELDS:
            self._fields_left_out = True
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse the request, or have it answered."""
        self._enter(Phase.BODY)
        self._no_body = 0
        if self._refused or self.transport.is_closing():
            self.cycle = ANSWERED
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if self._fields_left_out or size > MAX_HEAD:
            self._refuse_head(long_url=len(self.url) > MAX_HEAD)
        elif hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", NO_HOST)
        else:
            self.start_request()

    def start_request(self) -> None:
        """Have uvicorn start the app."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the body's bytes for none of the head's."""
        self._no_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is there as a whole."""
        super().on_message_complete()
        self._no_body = 0
        self._enter(Phase.IDLE if self.cycle.response_complete else Phase.ANSWER)

    def on_response_complete(self) -> None:
        """Note that the answer is written."""
        super().on_response_complete()
        if self.phase is Phase.ANSWER:
            self._enter(Phase.IDLE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own sentence, which names no remedy
        """Answer what the parser refused, and close the connection."""
        self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)

    def _refuse_head(self, *, long_url: bool) -> None:
        status = HTTPStatus.REQUEST_URI_TOO_LONG if long_url else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.refuse(status, "invalid_request", LONG_URL if long_url else LONG_HEAD)

    def refuse(self, status: HTTPStatus, code: str, detail: str, more: Mapping[str, str] | None = None) -> None:
        """Answer with a problem, and close the connection; where another answer is under way, close it only."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        answering = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]
        if answering:
            self.transport.close()
            return
        self.cycle = ANSWERED
        self._unset_keepalive_if_required()
        response = problems.respond(_NO_REQUEST, status, code, detail, more)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.pause_reading()
        self.loop.call_later(LINGER, self.transport.close)

    def hold_to_time(self, now: float, limits: Limits) -> None:
        """Refuse a request that takes too long to arrive, and end a client that takes nothing of its answer."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == self._unsent:
            if now - self.since > limits.body_timeout:
                self.transport.abort()
            return
        if unsent != self._unsent:
            self._unsent = unsent
            self.since = now
        waits_for_client = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]
        late = now - self.since
        if self.phase is Phase.HEAD and waits_for_client and late > limits.head_timeout:
            if self._begun:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, "invalid_request", LATE)
            else:
                self.transport.close()
        elif self.phase is Phase.BODY and late > limits.body_timeout:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "invalid_request", LATE)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = self.loop.time()
