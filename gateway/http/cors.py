"""CORS: pages of other origins may read. They may also write if the operator trusts their origin."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http import problems
from gateway.http.cross_site import ANY

EXPOSED = ["ETag", "Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After", "X-Request-ID"]
"""Response headers that a page of another origin may read."""

_WRITING = ["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Prefer", "X-Request-ID"]


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
            allow_headers=[ANY],  # What viewers send by habit, such as X-Requested-With, does no harm in a GET.
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
        if scope["type"] != "http":
            await self._reading(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_trusted = ANY in self._origins or headers.get("origin", "") in self._origins
        cors = self._writing if is_trusted else self._reading
        if scope["method"] == "OPTIONS" and {"origin", "access-control-request-method"} <= set(headers.keys()):
            response = cors.preflight_response(headers)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                await _refusal(response, scope)(scope, receive, send)
                return
        await cors(scope, receive, send)


def _refusal(response: Response, scope: Scope) -> Response:
    """Turn Starlette's refusal of a preflight, a line of text, into a problem with the same CORS headers."""
    kept = {
        name: value
        for name, value in response.headers.items()
        if name.startswith("access-control-") and name != "access-control-max-age"
    }
    detail = (
        f"{bytes(response.body).decode()}. Pages of other origins may only read; to let this one change things, have "
        "the operator list it in TILEWRIGHT_ALLOWED_ORIGINS."
    )
    return problems.problem_response(
        scope, response.status_code, "invalid_request", detail, {**kept, "Vary": "Origin, Accept"}
    )
