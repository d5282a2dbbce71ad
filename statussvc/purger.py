"""Remove old rows in the background: docs/decisions/0015-old-rows-are-purged.md."""

from __future__ import annotations

import asyncio
import logging

from pipeline.errors import StatusUnavailable
from statussvc.core import Core
from statussvc.db import purge

INTERVAL = 60.0
"""Seconds between two purges."""

PAUSE = 0.1
"""Seconds between two batches, for others to write."""

logger = logging.getLogger(__name__)


class Purger:
    """Removes old rows in batches.

    Parameters
    ----------
    keep: seconds for which deleted datasets and runs and changes that a later one followed are kept; None: for ever.
    """

    def __init__(self, core: Core, keep: float | None) -> None:
        self._core = core
        self._keep = keep
        self._position = purge.START

    async def run(self) -> None:
        """Purge until cancelled. A failure is logged, and tried again."""
        while True:
            more = False
            try:
                more = await self.step()
            except StatusUnavailable:
                pass  # Server's sweep logs that every second.
            except Exception:
                logger.exception("purging old rows failed; trying again")
            await asyncio.sleep(PAUSE if more else INTERVAL)

    async def step(self) -> bool:
        """Remove a batch of each kind. Returns whether there may be more. Raises StatusUnavailable."""
        database, now = self._core.database, self._core.now()
        removed = {
            "idempotency keys": await database.keep_house(lambda connection: purge.keys(connection, now)),
            "inspections": await database.keep_house(lambda connection: purge.inspections(connection, now)),
            "refreshes": await database.keep_house(lambda connection: purge.refreshes(connection, now)),
        }
        if self._keep is not None:
            before, position = now - self._keep, self._position
            removed["deleted datasets"] = await database.keep_house(
                lambda connection: purge.deleted(connection, before, now)
            )
            removed["changes"] = await database.keep_house(
                lambda connection: purge.overtaken_changes(connection, before)
            )
            removed["runs"], self._position = await database.keep_house(
                lambda connection: purge.overtaken_runs(connection, before, position, now)
            )
        if any(removed.values()):
            logger.info("purged: %s", ", ".join(f"{count} {kind}" for kind, count in removed.items() if count))
        return self._position != purge.START or any(count == purge.BATCH for count in removed.values())
