"""How many rpcs the gateway has under way: a crowd of requests must not become a crowd of rpcs."""

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
"""Rpcs under way: statussvc reads by four threads, so that more of them would only wait there."""

QUEUE = 256
"""Rpcs that wait for their turn. At some hundreds a second the last of them waits about half a second."""

PATIENCE = 5.0
"""Seconds that one waits at most: below an rpc's own time limit."""


TOO_MANY = "More requests come in than can be answered."

REFUSED_AFTER = 1.0
"""Seconds after which a request is refused. Whoever does not wait by himself is kept from asking without pause."""


class Busy(StatusUnavailable):
    """Raised when there is too much to do: the same request may do better in a while."""


class Gate:
    """Lets AT_ONCE through, and has QUEUE wait. For one event loop."""

    def __init__(self, at_once: int = AT_ONCE, queue: int = QUEUE, patience: float = PATIENCE) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._queue = queue
        self._patience = patience
        self._waiting = 0

    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return self._waiting >= self._queue

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the block. Raises Busy."""
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
    """Rpcs of a stub, each of which waits for its turn. What waits long by itself is not to be asked by this."""

    def __init__(self, stub: StatusServiceAsyncStub, gate: Gate) -> None:
        self._stub = stub
        self._gate = gate

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._stub, name)

        async def call(request: Any, timeout: float) -> Any:  # noqa: ASYNC109  as gRPC's own have it
            async with self._gate.turn():
                return await method(request, timeout=timeout)

        return call


class RefuseCrowd:
    """ASGI app in front of another: refuses requests for the API while no rpc could be made for them. Raises Busy."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gate.is_full() and scope["path"].startswith("/api/"):
            await asyncio.sleep(REFUSED_AFTER)
            raise Busy(TOO_MANY)
        await self._app(scope, receive, send)
