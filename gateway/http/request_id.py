"""Each request has an id: the client's X-Request-ID where it sends a sane one, else a new one.

It is returned in the same header, stands in problems, and in every line logged meanwhile.
"""

from __future__ import annotations

import re
import secrets
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.logs import request_id

HEADER = b"x-request-id"

# What ids are made of elsewhere (UUIDs, ULIDs, trace ids, base64): nothing that could break a log line or a header.
_SANE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")


class RequestId:
    """ASGI middleware; costs a few microseconds a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        value = given if _SANE.fullmatch(given) else f"{self._prefix}-{next(self._numbers):x}".encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, value)]
            await send(message)

        token = request_id.set(value.decode())
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id.reset(token)
