"""Run asyncio tasks as long as the gateway. A failed task is logged, shown on /readyz, and restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.background.backoff import Backoff

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a failed task is restarted; doubled at each failure in a row."""

STEADY = 60.0
"""Seconds that a restarted task has to run before /readyz no longer shows its failure."""

logger = logging.getLogger(__name__)


class Background:
    """Runs named tasks and restarts them.

    Attributes
    ----------
    failures: by name, a sentence for each task that failed and has not run for STEADY since.
    """

    def __init__(self, first_pause: float = FIRST_PAUSE) -> None:
        self.failures: dict[str, str] = {}
        self._work: dict[str, Callable[[], Awaitable[None]]] = {}
        self._first_pause = first_pause

    def add(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Add a task. `work` must never return."""
        self._work[name] = work

    async def run(self) -> None:
        """Run all tasks until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in self._work.items():
                group.create_task(self._keep_going(name, work), name=name)

    async def _keep_going(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(self._first_pause, LONGEST_PAUSE)
        while True:
            loop = asyncio.get_running_loop()
            began = loop.time()
            well = loop.call_later(STEADY, self.failures.pop, name, None)
            try:
                await work()
                logger.error("%s ended; restarting it", name)
                self.failures[name] = f"{name} ended; it is restarted."
            except Exception as error:
                logger.exception("%s failed; restarting it", name)
                self.failures[name] = f"{name} failed ({type(error).__name__}); it is restarted."
            finally:
                well.cancel()
            if loop.time() - began > STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.next())
