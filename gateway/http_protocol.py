"""uvicorn's HTTP protocol with limits, and with an answer of the gateway's own to the plain GET of a tile.

A tile that is in memory is answered where the request's headers end: no task, no ASGI messages, no middleware. It takes
half the processor's time (measured), and tiles are nearly all that a gateway under load is asked for. What is used of
uvicorn here (attributes and callbacks) it does not promise: the locks hold its version, and tests each answer.
"""

from __future__ import annotations

from gateway.http.limits import ANSWERED, LimitedProtocol, Limits
from gateway.tiles.quick_tiles import QuickTiles


class Protocol(LimitedProtocol):
    """One connection. `quick` and `limits` are set by its subclass for one gateway: see `protocol_for`."""

    quick: QuickTiles

    def start_request(self) -> None:
        """Answer at once, or have uvicorn start the app."""
        if self.url.startswith(b"/tiles/") and self._is_plain():
            answer = self.quick.answer(self.url, self.headers)
            if answer is not None:
                head, body = answer
                more = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
                self.transport.writelines((b"".join((head, *more, b"\r\n")), body))
                self.cycle = ANSWERED
                self.on_response_complete()
                return
        super().start_request()

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


def protocol_for(quick: QuickTiles, limits: Limits) -> type[Protocol]:
    """Give the protocol of one gateway's connections."""
    return type("GatewayProtocol", (Protocol,), {"quick": quick, "limits": limits})
