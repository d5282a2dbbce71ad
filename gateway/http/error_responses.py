"""Catch all exceptions and respond with a problem, unless the response has already begun."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http import problems
from pipeline.logs import Repeats

logger = logging.getLogger(__name__)

_repeats = Repeats()


class ErrorResponses:
    """ASGI middleware. No exception of the app passes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if started:
                # The server notices the incomplete response, and closes the connection.
                if (left_out := _repeats.left_out(problems.place_of(error))) is not None:
                    logger.exception(
                        "%s %r broke off (%d more since it was last logged)", scope["method"], scope["path"], left_out
                    )
            else:
                await problems.error_response(error, scope)(scope, receive, send)
