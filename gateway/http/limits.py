"""What a client may cost before its request is one: bytes of a head, fields, time, and a connection.

uvicorn has none of these limits. They are held where bytes come in, before any is kept. What is used of uvicorn here
(attributes and callbacks) it does not promise: the locks hold its version, and tests try each limit by raw sockets.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http import problems
from pipeline.logs import Repeats

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers together, and of what stands between the parts of a body: nobody needs more."""

MAX_FIELDS = 100
"""Headers of one request, as in Apache and gunicorn."""

PIECE = 1024
"""Bytes that are handed to the parser at once: by so many the limit may be overstepped. So few, since all requests that
lie in them are begun, and a request may be of 26 bytes and take two kilobytes of memory while it waits for its turn."""

LINGER = 1.0
"""Seconds between a refusal and the connection's end. What the client still sends is not read: closing at once would
reset the connection, and the answer might be lost with it."""

MOST_LINGERING = 64
"""Connections that are refused with an answer at a time. More are closed at once: each has a descriptor till then."""

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
        """Refuse those that are late, and end those whose client has left."""
        connections = list(present)
        self._end_left(connections)
        for one in connections:
            one.hold_to_time(now, self)

    @staticmethod
    def _end_left(connections: Iterable[LimitedProtocol]) -> None:
        # Of a connection that is not read from, since a request on it waits for its turn, nobody hears of its end.
        left, unread = select.poll(), {}
        for one in connections:
            socket = one.transport.get_extra_info("socket")
            if one.flow.read_paused and socket is not None and socket.fileno() >= 0:
                unread[socket.fileno()] = one
                left.register(socket.fileno(), select.POLLRDHUP)
        for descriptor, _ in left.poll(0) if unread else ():
            unread[descriptor].transport.abort()


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
        self._unparsed = bytearray()
        self._answering: RequestResponseCycle | None = None
        super().connection_made(transport)
        connections = cast("set[LimitedProtocol]", self.connections)
        if len(connections) > self.limits.connections and not self.limits.make_room(connections):
            self.limits.note_full()
            if len(connections) > self.limits.connections + MOST_LINGERING:
                transport.abort()
                return
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "service_unavailable", FULL, {"Retry-After": "5"})

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser, unless there are too many that belong to no body."""
        self._unset_keepalive_if_required()
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._begun = True
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Hand what has come to the parser, as long as no request waits for the answer to one before it."""
        while self._unparsed and not self.pipeline and not self._refused and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PIECE])
            del self._unparsed[:PIECE]
            self._no_body += len(piece)
            if self._no_body > MAX_HEAD + PIECE:
                self._refuse_head(long_url=self.phase is Phase.HEAD and not self.headers)
                return
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                pass  # refused by going on in HTTP/1.1 (RFC 9110, 7.8)
            except httptools.HttpParserError:
                self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)
        if self._unparsed or self.pipeline:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered that nobody waits for it, and drop those behind it."""
        self._unparsed.clear()
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._answering, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

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
        """Note that the answer is written, and go on with what was sent behind its request."""
        super().on_response_complete()
        if self.phase is Phase.ANSWER:
            self._enter(Phase.IDLE)
        if self.pipeline:
            self.flow.pause_reading()
        elif self._unparsed:
            self.flow.pause_reading()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        self._parse()
        if not self._unparsed and not self.pipeline:
            self.flow.resume_reading()

    def _refuse_head(self, *, long_url: bool) -> None:
        status = HTTPStatus.REQUEST_URI_TOO_LONG if long_url else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.refuse(status, "invalid_request", LONG_URL if long_url else LONG_HEAD)

    def refuse(self, status: HTTPStatus, code: str, detail: str, more: Mapping[str, str] | None = None) -> None:
        """Answer with a problem, and close the connection; where another answer is under way, close it only."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        answering = self._answering
        if answering is not None and not answering.response_complete:
            if answering.response_started or self.pipeline or self.cycle is not answering:
                self.transport.close()
                return
            # It is the request itself that is refused, in its body: its answer is this one.
            answering.disconnected = True
            answering.message_event.set()
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
