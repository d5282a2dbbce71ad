"""Fast path for GET …/status, without the web framework: nearly all API requests are status polls.

The framework's route in gateway.api.datasets handles any request, and documents the answers. This app handles a GET
that needs nothing from the framework. A test checks that both return the same answer.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import contract
from gateway.api.polls import Polls
from gateway.http import is_not_modified

_PATH = re.compile(rf"/api/datasets/({contract.DATASET_ID})/status")

_LONG_WAY = frozenset({b"origin", b"access-control-request-method"})
"""Headers that change the answer: such requests go to the framework."""


class StatusApp:
    """ASGI middleware that answers plain status polls.

    Parameters
    ----------
    app: answers all other requests, and errors.
    """

    def __init__(self, app: ASGIApp, polls: Polls) -> None:
        self._app = app
        self._polls = polls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        if found is None or any(name in _LONG_WAY for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        answer = await self._polls.status(found[1])
        headers = [(b"etag", answer.etag.encode()), (b"cache-control", b"no-cache")]
        if not answer.final:
            headers.append((b"retry-after", b"%d" % self._polls.poll_after))
        if is_not_modified(scope["headers"], answer.etag.encode()):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-length", b"%d" % len(answer.body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
