"""One connection, with limits for a request that has not fully arrived: size and number of headers, and time.

uvicorn has none of these limits. They are checked as bytes arrive, before any are stored. This module uses attributes
and callbacks of uvicorn that are not public: tests/unit/test_insides.py fails when they change, and tests check each
limit with raw sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http import problems
from gateway.http.cross_site import is_host
from gateway.http.limits import Limits, Phase

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD = 64 * 1024
"""Maximum bytes of the request line and headers together; also of the framing between the chunks of a body."""

MAX_FIELDS = 100
"""Maximum headers of a request, as in Apache and gunicorn."""

PIECE = 1024
"""Bytes passed to the parser at once, by which MAX_HEAD may be exceeded. Small, because all requests in a piece are
started, and a request of 26 bytes takes two kilobytes of memory while it waits for its turn."""

LINGER = 1.0
"""Seconds between a refusal and the end of the connection. Closing at once, with unread bytes from the client, would
reset the connection, and the client might lose the response."""

MOST_LINGERING = 64
"""Refused connections that may linger with a response. Any more are closed at once, because each holds a descriptor."""

UNREADABLE = "Malformed HTTP request. Check the client, or a proxy in between."
NO_HOST = (
    "A request needs exactly one Host header, with a name and perhaps a port. Check the client, or a proxy in between."
)
LONG_URL = f"The URL is longer than {MAX_HEAD // 1024} KiB."
LONG_HEAD = (
    f"The headers are larger than {MAX_HEAD // 1024} KiB, or there are more than {MAX_FIELDS}. Check for too many "
    "cookies."
)
WRONG_VERSION = "Only HTTP/1.0 and HTTP/1.1 are supported. Use HTTP/1.1."
WRONG_CODING = "The request has a Transfer-Encoding that is not supported. Use `chunked` alone, or a Content-Length."
NO_TUNNEL = "CONNECT is not supported: this is not a proxy."
LATE = "The request did not arrive in time. Send it again, or check the network."
FULL = "Too many connections. Try again later."
FULL_BODIES = "The gateway holds too many large request bodies. Try again later, with a smaller body if possible."


class _Responded:
    """Replaces uvicorn's object for a request that already has its response. Has the attributes that uvicorn reads."""

    response_started = response_complete = True
    message_event = asyncio.Event()


RESPONDED = cast("RequestResponseCycle", _Responded)

_UPGRADING = {b"upgrade", b"http2-settings"}
"""Headers, and tokens of `Connection`, that ask for another protocol."""

_NO_REQUEST = {"type": "http", "path": "", "headers": []}


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A subclass sets `limits` for a gateway."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if there are too many."""
        self.phase = Phase.HEAD
        self.since = self.loop.time()
        self._begun = False
        self._no_body = 0
        self._fields_left_out = False
        self._method = b""
        self._reading: RequestResponseCycle | None = None
        self._refused = False
        self._refusal: Callable[[], None] | None = None
        self.is_half_closed = False
        self._unsent = 0
        self.held = 0
        self.body_bytes = 0
        self.unparsed_bytes = 0
        self._waits_for_reader = False
        self._unparsed = bytearray()
        self._is_parsing = False
        self._responding: RequestResponseCycle | None = None
        super().connection_made(transport)
        connections = cast("set[LimitedProtocol]", self.connections)
        if len(connections) > self.limits.connections and not self.limits.make_room(connections):
            self.limits.note_full()
            if len(connections) > self.limits.connections + MOST_LINGERING:
                transport.abort()
                return
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "service_unavailable", FULL, {"Retry-After": "5"})

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser, unless there are too many outside of a body."""
        if self._refused:
            self.flow.pause_reading()
            return
        self._unset_keepalive_if_required()
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._begun = True
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Pass received bytes to the parser, unless a request waits for the response to an earlier one."""
        while self._unparsed and not self._waits() and not self._refused and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PIECE])
            del self._unparsed[:PIECE]
            self._no_body += len(piece)
            if self._no_body > MAX_HEAD + PIECE:
                self._refuse_head(long_url=self.phase is Phase.HEAD and len(self.url) > MAX_HEAD // 2)
                return
            self._is_parsing = True
            self._parse_piece(piece)
            self._is_parsing = False
        if self._unparsed or self._waits():
            self.flow.pause_reading()
        self._count_unparsed()
        self._note_idle()

    def _parse_piece(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._unparsed[:0] = piece[upgrade.args[0] :]
            self._parse_without_upgrade()
        except httptools.HttpParserError:
            self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)

    def _count_unparsed(self) -> None:
        unparsed = len(self._unparsed)
        if unparsed != self.unparsed_bytes and not self.transport.is_closing():
            self.limits.bodies.note_unparsed(self, unparsed, cast("set[LimitedProtocol]", self.connections))

    def _parse_without_upgrade(self) -> None:
        """Parse the request's headers again, without those that ask for another protocol.

        A server may ignore `Upgrade` (RFC 9110, 7.8), but the parser does not: it ends the request at its headers, so
        that a body would be lost, or be taken for the next request.
        """
        if self._refused or self.transport.is_closing():
            return
        if self._fields_left_out:
            self._refuse_head(long_url=False)
            return
        if self._method == b"CONNECT":
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "invalid_request", NO_TUNNEL)
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token for token in value.split(b",") if token.strip(b" \t").lower() not in _UPGRADING]
                lines.append(b"connection: " + b",".join(tokens))
            elif name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        except httptools.HttpParserError:
            self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open while responses are due: a client may end its side, and still read."""
        is_due = self._is_response_due()
        if is_due:
            self.note_half_closed()
        return is_due

    def note_half_closed(self) -> None:
        """Note that the client sends nothing more, and find out whether it still reads.

        A client that has left looks the same, until something is sent to it: it answers with a reset, which the next
        sweep finds. An interim response may precede any response of HTTP/1.1 (RFC 9110, 15.2).
        """
        if self.is_half_closed:
            return
        self.is_half_closed = True
        responding = self._responding
        if responding is None or responding.response_started or responding.scope["http_version"] != "1.1":
            return
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_responding(self) -> bool:
        return self._responding is not None and not self._responding.response_complete

    def _is_response_due(self) -> bool:
        """Return whether a request that has arrived has no response yet.

        While a piece is parsed, more requests may be in it.
        """
        is_whole = self._is_responding() and self._responding is not self._reading
        is_unread = self._is_parsing or bool(self._unparsed)
        return is_whole or is_unread or self._waits() or self._refusal is not None

    def _waits(self) -> bool:
        """Return whether the next request has to wait: for earlier responses, or until the client has read them."""
        return bool(self.pipeline) or self._waits_for_reader

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the current request as disconnected, and drop the requests after it."""
        self.limits.unsent.forget(self)
        self.limits.bodies.forget(self)
        self._unparsed.clear()
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._responding, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start the app, or queue the request: it may be in the same piece as one whose response is not read yet."""
        if self._waits_for_reader:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
            return
        self._unset_keepalive_if_required()  # An earlier response may have set it after this request began.
        self._responding = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """Note that a request begins. uvicorn's own objects are only made if `start_request` calls uvicorn."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._method = b""
        self._reading = None
        self._fields_left_out = False
        self._no_body = 0
        self._unset_keepalive_if_required()
        self._enter(Phase.HEAD)

    def on_url(self, url: bytes) -> None:
        """Note the method, which is known by now."""
        self._method = self.parser.get_method()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, unless there are too many. Ignore the headers after a body, which are not used.

        Blanks around a value are not part of it (RFC 9110, 5.5), but the parser leaves those behind it.
        """
        if self.phase is not Phase.HEAD:
            return
        if len(self.headers) >= MAX_FIELDS:
            self._fields_left_out = True
            return
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Refuse the request, or start it."""
        if self.parser.should_upgrade():
            return  # It is parsed again once the parser has reported where the headers end.
        self._enter(Phase.BODY)
        self._no_body = 0
        if self._refused or self.transport.is_closing():
            self.cycle = RESPONDED
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        hosts = [value.decode("latin-1") for name, value in self.headers if name == b"host"]
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self.refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "invalid_request", WRONG_VERSION)
        elif self._fields_left_out or size > MAX_HEAD:
            self._refuse_head(long_url=len(self.url) > MAX_HEAD)
        elif len(hosts) > 1 or (not hosts and version != "1.0") or not all(map(is_host, hosts)):
            self.refuse(HTTPStatus.BAD_REQUEST, "invalid_request", NO_HOST)
        elif codings not in ([], [b"chunked"]):
            # The parser removes the chunks, and would leave the other coding in the body (RFC 9112, 6.1).
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "invalid_request", WRONG_CODING)
        else:
            self.start_request()
            self._reading = self.cycle

    def start_request(self) -> None:
        """Let uvicorn start the app."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Do not count the body's bytes toward MAX_HEAD."""
        self._no_body = 0
        is_kept = not self.cycle.response_complete
        super().on_body(body)
        if is_kept:
            self.limits.bodies.note(self, len(body), cast("set[LimitedProtocol]", self.connections))

    def on_message_complete(self) -> None:
        """Note that the whole request has arrived."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._reading = None
        self._no_body = 0
        self._enter(Phase.RESPONSE)  # until `_note_idle`, even if it is written: another may wait behind it.

    def on_response_complete(self) -> None:
        """Note that the response is written, and go on with the bytes after its request once most of it is sent."""
        self.limits.bodies.forget_body(self)
        self.limits.unsent.note(self, cast("set[LimitedProtocol]", self.connections))
        if self.flow.write_paused and not self.transport.is_closing():
            # The next response would be made and kept in memory, although this one is not read.
            self._waits_for_reader = True
        else:
            self._go_on_after_response()

    def resume_writing(self) -> None:
        """Go on with the bytes after a response's request, once most of the response is sent."""
        super().resume_writing()
        if self._waits_for_reader:
            self._waits_for_reader = False
            self._go_on_after_response()

    def _go_on_after_response(self) -> None:
        super().on_response_complete()
        if self._refusal is not None:
            if not self._is_responding():
                self._refusal()
            return
        self._note_idle()
        if self.pipeline:
            self.flow.pause_reading()
        elif self._unparsed:
            self.flow.pause_reading()
            self.loop.call_soon(self._go_on)
        self._end_half_closed()

    def _note_idle(self) -> None:
        if self.phase is Phase.RESPONSE and not self._is_response_due():
            self._enter(Phase.IDLE)

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        self._enter(self.phase)  # Its time begins now: the bytes that wait here did not wait for the client.
        self._parse()
        if not self._unparsed and not self._waits():
            self.flow.resume_reading()
        self._end_half_closed()

    def _end_half_closed(self) -> None:
        if self.is_half_closed and not self._is_response_due():
            self.transport.close()

    def _refuse_head(self, *, long_url: bool) -> None:
        status = HTTPStatus.REQUEST_URI_TOO_LONG if long_url else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.refuse(status, "invalid_request", LONG_URL if long_url else LONG_HEAD)

    def refuse(self, status: HTTPStatus, code: str, detail: str, more: Mapping[str, str] | None = None) -> None:
        """Respond to the request that is being read with a problem, and close the connection.

        Requests before it get their responses first. If its own response has begun, the connection is only closed.
        """
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unparsed.clear()
        reading = self._reading
        if reading is not None and reading.response_started:
            self._linger()
            return
        self._refusal = partial(self._write_refusal, status, code, detail, more)
        self.cycle = RESPONDED
        self.pipeline = deque(waiting for waiting in self.pipeline if waiting[0] is not reading)
        if self._waits() or (self._is_responding() and self._responding is not reading):
            self._enter(Phase.RESPONSE)
            self.flow.pause_reading()
            return
        if reading is not None and reading is self._responding:
            # The app waits for the rest of its body.
            reading.disconnected = True
            reading.message_event.set()
        self._refusal()

    def end_body(self) -> None:
        """Refuse the request whose body takes too much memory, or close the connection if it has fully arrived."""
        reading = self._reading
        if reading is None or reading is not self._responding:
            self._unparsed.clear()
            self.transport.abort()
            return
        self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "service_unavailable", FULL_BODIES, {"Retry-After": "5"})

    def _write_refusal(self, status: HTTPStatus, code: str, detail: str, more: Mapping[str, str] | None = None) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        response = problems.problem_response(_NO_REQUEST, status, code, detail, more)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % header for header in headers)]
        body = b"" if self._method == b"HEAD" else bytes(response.body)
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self._linger()

    def _linger(self) -> None:
        self.transport.pause_reading()
        self.loop.call_later(LINGER, self.transport.close)

    def hold_to_time(self, now: float, limits: Limits) -> None:
        """Refuse a request that arrives too slowly, and disconnect a client that reads nothing of its response."""
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
        elif self.phase is Phase.BODY and not self._waits() and late > limits.body_timeout:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "invalid_request", LATE)

    def _enter(self, phase: Phase) -> None:
        self.phase = Phase.RESPONSE if self._refused else phase
        self.since = self.loop.time()
