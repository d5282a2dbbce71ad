"""Requests whose body is still coming when the gateway is asked to stop."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class UnfinishedBody:
    """ASGI middleware. Raises HTTPException(503) where a body is awaited on a stop: nothing was done, so that the
    client may send it again. Else it would hold up the stop, and be cut off without a word.

    Parameters
    ----------
    stopping: set when the gateway has been asked to stop.
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
