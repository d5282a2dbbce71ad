"""CORS: pages of other origins may read. They may also write if the operator trusts their origin."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.strangers import ANY

EXPOSED = ["ETag", "Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After", "X-Request-ID"]
"""Response headers that a page of another origin may read."""

_READING = ["If-None-Match", "X-Request-ID"]
_WRITING = [*_READING, "Content-Type", "Idempotency-Key", "Prefer"]


class Cors:
    """ASGI middleware: https://fetch.spec.whatwg.org/#http-cors-protocol.

    Parameters
    ----------
    origins: origins whose pages may change data; `*` for any.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self._reading = CORSMiddleware(
            app,
            allow_origins=[ANY],
            allow_methods=["GET", "HEAD"],
            allow_headers=_READING,
            expose_headers=EXPOSED,
        )
        self._writing = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=_WRITING,
            expose_headers=EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trusted = scope["type"] == "http" and (
            ANY in self._origins or Headers(scope=scope).get("origin", "") in self._origins
        )
        await (self._writing if trusted else self._reading)(scope, receive, send)
