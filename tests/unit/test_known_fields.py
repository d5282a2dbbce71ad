"""The unknown fields of a body are freed while its request is at work."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from gateway.api.routing import KnownFieldsRoute, _KnownFieldsRequest

NESTED = b'"x": [' + b'{"":0},' * 30_000 + b"0]"
MANY = b",".join(b'"%d":0' % number for number in range(20_000))


class New(BaseModel):
    name: str


@pytest.mark.parametrize("path", ["/new", "/optional"])
@pytest.mark.parametrize("unknown", [NESTED, MANY], ids=["nested", "many"])
def test_unknown_fields_are_freed(path: str, unknown: bytes) -> None:
    router = APIRouter(route_class=KnownFieldsRoute)
    left: list[tuple[str, int]] = []

    @router.post("/new")
    async def new(body: New) -> None:
        left.append((body.name, tracemalloc.get_traced_memory()[0]))

    @router.post("/optional")
    async def optional(body: New | None = None) -> None:
        left.append(("" if body is None else body.name, tracemalloc.get_traced_memory()[0]))

    app = FastAPI()
    app.include_router(router)
    data = b'{"name": "Earth", ' + unknown + b"}"
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    async def run() -> None:
        await app(scope, receive, send)
        tracemalloc.start()
        try:
            await app(scope, receive, send)
        finally:
            tracemalloc.stop()

    asyncio.run(run())
    name, size = left[-1]
    assert name == "Earth"
    assert size < 2 * len(data) + 200_000


def test_a_body_of_lists_causes_no_full_collection() -> None:
    """One takes some 0.15 seconds of the event loop in a service with all its modules."""
    collected: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collected.append(info["generation"])

    async def parse() -> Any:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b'{"name": [' + b"[]," * 80_000 + b"0]}", "more_body": False}

        request = _KnownFieldsRequest({"type": "http"}, receive, frozenset({"name"}))
        gc.callbacks.append(note)
        try:
            return await request.json()
        finally:
            gc.callbacks.remove(note)

    assert len(asyncio.run(parse())["name"]) == 80_001
    assert 2 not in collected
    assert gc.isenabled()
