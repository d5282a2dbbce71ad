"""What the routes share: their context, JSON responses, and headers for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from gateway.api.context import Context


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Parts = Annotated[Context, Depends(_context)]
"""Annotation of a route's parameter that receives the gateway's context."""

RETRY_AFTER = {"Retry-After": {"description": "Seconds until the next poll.", "schema": {"type": "integer"}}}


def request_header(name: str, description: str) -> dict[str, Any]:
    """Return the OpenAPI of a request header that is documented by hand: no schema can describe its grammar."""
    parameter = {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    return {"parameters": [parameter]}


def response_header(name: str, description: str) -> dict[str, Any]:
    """Return the OpenAPI of a response header."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def json_response(model: BaseModel, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a model as a JSON response, without the fields that were never set."""
    return Response(model.model_dump_json(exclude_unset=True), status_code, headers, media_type="application/json")


async def disconnected(request: Request) -> None:
    """Return once the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
