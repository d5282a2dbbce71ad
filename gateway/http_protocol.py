"""uvicorn's HTTP protocol with the gateway's own words for what is no HTTP."""

from __future__ import annotations

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import problems

UNREADABLE = "This is no HTTP request that can be read. Look at the client, or at a proxy in between."

_NO_REQUEST = {"type": "http", "path": "", "headers": []}


class Protocol(HttpToolsProtocol):
    """One connection. What uvicorn answers in plain text before there is a request becomes a problem, too."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own sentence, which names no remedy
        """Answer what the parser refused, and close the connection."""
        response = problems.respond(_NO_REQUEST, HTTPStatus.BAD_REQUEST, "invalid_request", UNREADABLE)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
