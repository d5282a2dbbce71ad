"""Fast path for GET …/status, without the web framework: nearly all API requests are status polls.

The framework's route in gateway.api.datasets handles any request, and documents the responses. This app handles a GET
that needs nothing from the framework. A test checks that both return the same response.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.polls import Polls
from gateway.http import is_not_modified
from pipeline.texts import DATASET_ID

_PATH = re.compile(rf"/api/datasets/({DATASET_ID})/status")

_UNSUPPORTED = frozenset({b"origin", b"access-control-request-method"})
"""Headers that change the response: such requests go to the framework."""


class StatusApp:
    """ASGI middleware that responds to plain status polls.

    Parameters
    ----------
    app: handles all other requests, and errors.
    """

    def __init__(self, app: ASGIApp, polls: Polls) -> None:
        self._app = app
        self._polls = polls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        if found is None or any(name in _UNSUPPORTED for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        response = await self._polls.status(found[1])
        headers = [(b"etag", response.etag.encode()), (b"cache-control", b"no-cache")]
        if not response.final:
            headers.append((b"retry-after", b"%d" % self._polls.poll_after))
        if is_not_modified(scope["headers"], response.etag.encode()):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-length", b"%d" % len(response.body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
