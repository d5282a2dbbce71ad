"""Refuse requests whose body has not fully arrived when the gateway stops."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class UnfinishedBody:
    """ASGI middleware. Raises HTTPException(503) if a request still waits for its body when the gateway stops.

    Nothing was done for such a request, so the client may send it again. Otherwise the request would delay the stop,
    and be cut off without a response.

    Parameters
    ----------
    stopping: set when the gateway stops.
    """

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        complete = False

        async def receive_unless_stopping() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            message = await self._first(receive)
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_unless_stopping, send)

    async def _first(self, receive: Receive) -> Message:
        coming = asyncio.ensure_future(receive())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise HTTPException(503)
            return coming.result()
        finally:
            coming.cancel()
            stopping.cancel()
