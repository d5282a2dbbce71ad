"""End a wait when something else happens first, such as that the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")

Interrupt = Coroutine[Any, Any, object]
"""A coroutine that ends a wait when it returns."""


async def interruptible(work: Awaitable[T], *interrupts: Interrupt, seconds: float | None = None) -> T | None:
    """Return what `work` returns; None if the time runs out or one of `interrupts` returns first.

    What has not returned by then is cancelled. Raises what `work` raises.
    """
    working = asyncio.ensure_future(work)
    tasks = {working, *(asyncio.ensure_future(interrupt) for interrupt in interrupts)}
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
