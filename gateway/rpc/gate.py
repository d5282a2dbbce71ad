"""Limit how many rpcs are in flight, so that a flood of requests does not become a flood of rpcs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.errors import StatusUnavailable

if TYPE_CHECKING:
    from protos.tilewright.status.v1.status_pb2_grpc import StatusServiceAsyncStub

AT_ONCE = 32
"""Rpcs in flight. statussvc reads with four threads, so more rpcs would only wait there."""

QUEUE = 256
"""Rpcs that wait for their turn. At some hundreds of rpcs a second the last one waits about half a second."""

PATIENCE = 5.0
"""Maximum wait for a turn in seconds; below an rpc's own deadline."""


TOO_MANY = "More requests come in than can be answered."

REFUSED_AFTER = 1.0
"""Seconds before a request is refused. The delay slows down clients that ignore Retry-After."""


class Busy(StatusUnavailable):
    """Raised when the gateway is overloaded. The same request may succeed later."""


class Gate:
    """Lets AT_ONCE rpcs run while up to QUEUE others wait. For use in one event loop."""

    def __init__(self, at_once: int = AT_ONCE, queue: int = QUEUE, patience: float = PATIENCE) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._queue = queue
        self._patience = patience
        self._waiting = 0

    def is_full(self) -> bool:
        """Return whether the next rpc would be refused."""
        return self._waiting >= self._queue

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block. Raises Busy."""
        if self.is_full():
            raise Busy(TOO_MANY)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy(TOO_MANY) from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


class GatedRpcs:
    """Wraps a stub so that each rpc waits for its turn. Not for rpcs that take long, since they would hold a turn."""

    def __init__(self, stub: StatusServiceAsyncStub, gate: Gate) -> None:
        self._stub = stub
        self._gate = gate

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._stub, name)

        async def call(request: Any, timeout: float) -> Any:  # noqa: ASYNC109  the same signature as gRPC's methods
            async with self._gate.turn():
                return await method(request, timeout=timeout)

        return call


class RefuseCrowd:
    """ASGI middleware that refuses API requests while the gate is full. Raises Busy."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gate.is_full() and scope["path"].startswith(("/api/", "/iiif/")):
            await asyncio.sleep(REFUSED_AFTER)
            raise Busy(TOO_MANY)
        await self._app(scope, receive, send)
