"""uvicorn's HTTP protocol with two answers of the gateway's own: to what is no HTTP, and to the plain GET of a tile.

A tile that is in memory is answered where the request's headers end: no task, no ASGI messages, no middleware. It takes
half the processor's time (measured), and tiles are nearly all that a gateway under load is asked for. What is used of
uvicorn here (attributes and callbacks) it does not promise: the locks hold its version, and tests each answer.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway import problems
from gateway.quick_tiles import QuickTiles

UNREADABLE = "This is no HTTP request that can be read. Look at the client, or at a proxy in between."

_NO_REQUEST = {"type": "http", "path": "", "headers": []}


class _Answered:
    """Stands in the place of uvicorn's request for one that was answered at once: what is asked of one that is over."""

    response_complete = True
    message_event = asyncio.Event()


_ANSWERED = cast("RequestResponseCycle", _Answered)


class Protocol(HttpToolsProtocol):
    """One connection. `quick` is set by its subclass for one gateway: see `protocol_for`."""

    quick: QuickTiles

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own sentence, which names no remedy
        """Answer what the parser refused, and close the connection."""
        response = problems.respond(_NO_REQUEST, HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()

    def on_message_begin(self) -> None:
        """Note that a request begins. What uvicorn makes then it makes only where the request goes the long way."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Answer at once, or have uvicorn start the app."""
        if self.url.startswith(b"/tiles/") and self._is_plain():
            answer = self.quick.answer(self.url, self.headers)
            if answer is not None:
                head, body = answer
                more = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
                self.transport.writelines((b"".join((head, *more, b"\r\n")), body))
                self.cycle = _ANSWERED
                self.on_response_complete()
                return
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def _is_plain(self) -> bool:
        """Tell whether an answer may be written now, and the connection be kept."""
        return (
            self.parser.get_method() == b"GET"
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
            # None before the first request, whatever uvicorn's annotation says.
            and (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]
        )


def protocol_for(quick: QuickTiles) -> type[Protocol]:
    """Give the protocol of one gateway's connections."""
    return type("GatewayProtocol", (Protocol,), {"quick": quick})
