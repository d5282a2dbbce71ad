"""What the routes share: their context, JSON responses, and headers for OpenAPI."""

from __future__ import annotations

import gc
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_args

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

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


class LaterResponse(Response):
    """A response that is only known after a wait.

    FastAPI keeps a request's body, as bytes and as parsed JSON, until the route has returned. The wait begins then.

    Parameters
    ----------
    respond: takes ASGI's `receive`, and returns the response.
    """

    def __init__(self, respond: Callable[[Receive], Awaitable[Response]]) -> None:
        super().__init__()
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(receive)
        await response(scope, receive, send)


class KnownFieldsRoute(APIRoute):
    """A route that frees the unknown fields of a JSON body at once: small in the body, they may take megabytes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        names = frozenset() if self.body_field is None else _field_names(self.body_field.field_info.annotation)

        async def handle_known(request: Request) -> Response:
            return await handle(_KnownFieldsRequest(request.scope, request.receive, names))

        return handle_known


class _KnownFieldsRequest(Request):
    def __init__(self, scope: Scope, receive: Receive, names: frozenset[str]) -> None:
        super().__init__(scope, receive)
        self._names = names

    async def json(self) -> Any:
        text = await self.body()
        with _no_collections():
            body = json.loads(text)
            return {name: body[name] for name in self._names & body.keys()} if isinstance(body, dict) else body


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector from running: parsing makes no cycles, and a body may consist of 87,000 lists."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _field_names(annotation: Any) -> frozenset[str]:
    models = (annotation, *get_args(annotation))
    return frozenset(name for model in models for name in getattr(model, "model_fields", ()))
