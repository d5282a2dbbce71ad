"""The last resort: whatever is raised is answered with a problem, as long as an answer can still be given."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http import problems
from pipeline.logs import Repeats

logger = logging.getLogger(__name__)

_repeats = Repeats()


class AnswerErrors:
    """ASGI middleware. Below it errors may be raised anywhere; none passes it."""

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
                # The server sees an answer without its end, and closes the connection.
                if (left_out := _repeats.left_out(problems.place_of(error))) is not None:
                    logger.exception(
                        "%s %r broke off (%d more since it was last logged)", scope["method"], scope["path"], left_out
                    )
            else:
                await problems.answer(error, scope)(scope, receive, send)
