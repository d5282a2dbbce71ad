"""Log one line per request: writes at INFO, reads at DEBUG, server errors at WARNING."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods logged at DEBUG: clients poll every second, and would bury the other lines."""

access_logger = logging.getLogger(__name__)


class AccessLog:
    """ASGI middleware. Does not log the query or headers, which may contain secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] in READS and not access_logger.isEnabledFor(logging.DEBUG)):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            level = logging.WARNING if status >= 500 else logging.DEBUG if scope["method"] in READS else logging.INFO
            milliseconds = 1000 * (time.perf_counter() - began)
            # %r, because the client chooses the path, which could otherwise begin a new line in the log.
            access_logger.log(level, "%s %r %d %.1f ms", scope["method"], scope["path"], status, milliseconds)
