"""Respond with JSON-LD documents that harvesters and viewers of any origin read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from gateway.api.context import Context
from gateway.api.routing import request_header, response_header
from gateway.http import base_of, examples, is_not_modified

CURRENT = "public, max-age=60, stale-while-revalidate=600"
"""For documents that change whenever a dataset does, as for the permanent addresses of tiles."""

UNKEPT = "no-store"
"""For documents that contain the request's Host: a cache that ignores the Host would return them for another one."""

IF_NONE_MATCH = request_header("If-None-Match", "The ETag of the document that the client already has.")

_LINKED = "application/ld+json"

_OPEN = {
    # Always sent: a shared cache would otherwise keep a response to a request without Origin for one with it.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
    "Vary": "Accept",
}


def base_url(context: Context, request: Request) -> str:
    """Return what absolute URLs begin with, without a trailing slash."""
    return context.links.base or base_of(request.scope)


def answers(model: type[BaseModel], *codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of a route's responses.

    Parameters
    ----------
    model: of the document.
    codes: of the route's errors.
    """
    etag = response_header("ETag", "Send it as If-None-Match to be told 304 if nothing has changed.")
    unchanged = {"description": "Unchanged since the ETag in If-None-Match."}
    return {200: {"model": model, "headers": etag}, 304: unchanged, **examples(*codes)}


def linked_data(context: Context, request: Request, document: dict[str, Any], profile: str) -> Response:
    """Return a document, as JSON-LD if the Accept header names it, or 304.

    Parameters
    ----------
    profile: URL of the context that the media type names.
    """
    text = json.dumps(document)
    is_linked = _LINKED in request.headers.get("accept", "")
    media_type = f'{_LINKED};profile="{profile}"' if is_linked else "application/json"
    digest = hashlib.sha256(f"{media_type}\n{text}".encode()).hexdigest()[:32]
    etag = f'"{digest}"'
    headers = {"ETag": etag, "Cache-Control": CURRENT if context.links.base else UNKEPT, **_OPEN}
    if is_not_modified(request.headers.raw, etag.encode()):
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type=media_type)
