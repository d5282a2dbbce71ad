"""uvicorn's HTTP protocol, with limits and with a fast path for plain GETs of tiles.

A tile that is in memory is sent as soon as the request's headers have been parsed, without a task, ASGI messages or
middleware. That halves the CPU time (measured), and nearly all requests to a busy gateway are for tiles. This module
uses attributes and callbacks of uvicorn that are not public. The locks pin uvicorn's version, and tests check each
response.
"""

from __future__ import annotations

from gateway.http import RESPONDED, LimitedProtocol, Limits
from gateway.tiles import QuickTiles


class Protocol(LimitedProtocol):
    """One connection. `protocol_for` makes a subclass that sets `quick` and `limits` for a gateway."""

    quick: QuickTiles

    def start_request(self) -> None:
        """Respond from the fast path, or let uvicorn start the app."""
        if self.url.startswith(b"/tiles/") and self._is_plain():
            response = self.quick.response(self.url, self.headers)
            if response is not None:
                head, body = response
                more = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
                self.transport.writelines((b"".join((head, *more, b"\r\n")), body))
                self.cycle = RESPONDED
                self.on_response_complete()
                return
        super().start_request()

    def _is_plain(self) -> bool:
        """Return whether a response may be written at once and the connection kept open."""
        return (
            self.parser.get_method() == b"GET"
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
            # `cycle` is None before the first request, despite uvicorn's annotation.
            and (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]
        )


def protocol_for(quick: QuickTiles, limits: Limits) -> type[Protocol]:
    """Return the protocol class for a gateway's connections."""
    return type("GatewayProtocol", (Protocol,), {"quick": quick, "limits": limits})
