"""Limit the size of request bodies, which are held in memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024
"""Bytes. The largest texts and URL that the API accepts have 225 kB, with each character written as `\\ud83c\\udf0d`.
Small, because JSON takes up to 32 times as much memory while it is parsed."""


class BodyLimit:
    """ASGI middleware. Raises HTTPException(413) if a body, or its Content-Length, is above MAX_BODY."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > MAX_BODY:
            raise _too_large()
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise _too_large()
            return message

        await self._app(scope, receive_counting, send)


def _too_large() -> HTTPException:
    return HTTPException(413, f"The body is larger than {MAX_BODY} bytes. Send a URL and a few texts, not the image.")
