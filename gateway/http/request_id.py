"""Give each request an id: the client's X-Request-ID if that is valid, else a new one.

The id is returned in the same header, and is part of problems and of each line logged for the request.
"""

from __future__ import annotations

import re
import secrets
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.logs import request_id

HEADER = b"x-request-id"

# Characters of UUIDs, ULIDs, trace ids and base64. None of them can break a log line or a header.
_SANE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")


class RequestId:
    """ASGI middleware. Takes a few microseconds per request."""

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
