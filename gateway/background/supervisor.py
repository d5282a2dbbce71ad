"""Tasks that run as long as the gateway: logged and started anew when they fail, and told on /readyz meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a failed task is started anew, doubled at each failure in a row."""

STEADY = 60.0
"""Seconds after which a task that runs counts as well again."""

logger = logging.getLogger(__name__)


class Background:
    """The tasks, by name.

    Attributes
    ----------
    failures: by name of each that has failed and not run for STEADY since, a sentence.
    """

    def __init__(self, first_pause: float = FIRST_PAUSE) -> None:
        self.failures: dict[str, str] = {}
        self._work: dict[str, Callable[[], Awaitable[None]]] = {}
        self._first_pause = first_pause

    def add(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Have `work`, which never returns, run with the others."""
        self._work[name] = work

    async def run(self) -> None:
        """Run all of them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in self._work.items():
                group.create_task(self._keep_going(name, work), name=name)

    async def _keep_going(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = self._first_pause
        while True:
            loop = asyncio.get_running_loop()
            began = loop.time()
            well = loop.call_later(STEADY, self.failures.pop, name, None)
            try:
                await work()
                logger.error("%s ended, and is started anew", name)
                self.failures[name] = f"{name} ended; it is started anew."
            except Exception as error:
                logger.exception("%s failed, and is started anew", name)
                self.failures[name] = f"{name} failed ({type(error).__name__}); it is started anew."
            finally:
                well.cancel()
            if loop.time() - began > STEADY:
                pause = self._first_pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
