"""Watch the storage: whether it is the right one, is writable, and has free space."""

from __future__ import annotations

import asyncio
import logging
import uuid

import grpc

from gateway.storage.threads import StorageThreads
from pipeline.errors import StageError, StatusUnavailable, StorageError, StorageLost
from pipeline.identity import Identified
from pipeline.storage import Storage, require_room

PATIENCE = 2.0
"""Seconds that /readyz waits for a check: probes usually give up after a few."""

INTERVAL = 2.0
"""Seconds between two checks, and the longest time that a lost storage goes unnoticed."""

OK = "ok"

logger = logging.getLogger(__name__)


class StorageWatch:
    """Checks the storage in a thread of its own. While a check hangs, no other one begins.

    Parameters
    ----------
    reserve: bytes that have to stay free.
    identity: checks that the storage belongs to the database; None to skip this check.
    """

    def __init__(self, storage: Storage, reserve: int, identity: Identified | None) -> None:
        self._storage = storage
        self._reserve = reserve
        self._identity = identity
        self._thread = StorageThreads(1, 0, patience=float("inf"))
        self._looking: asyncio.Task[str] | None = None
        self._lost = ""

    async def check(self) -> str:
        """Check the storage and return "ok", or what is wrong, within PATIENCE."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._thread.run(self._look), name="storage-look")
        await asyncio.wait({self._looking}, timeout=PATIENCE)
        if self._looking.done():
            return self._looking.result()
        return f"The storage did not answer within {PATIENCE:.0f} seconds."

    async def watch(self) -> None:
        """Check the storage every INTERVAL until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(INTERVAL)

    def require(self) -> None:
        """Raise StorageLost if the last check found no storage, or one that belongs to another database."""
        if self._lost:
            raise StorageLost(self._lost)

    def _look(self) -> str:
        try:
            if self._identity is not None:
                self._identity.require()
            self._lost = ""
            run_id = f"readyz-{uuid.uuid4().hex}"
            self._storage.scratch(run_id)
            self._storage.drop_scratch(run_id)
            require_room(self._storage, 0, self._reserve)
        except StorageLost as error:
            self._lost = str(error)
            return self._lost
        except (StatusUnavailable, grpc.RpcError):
            return "Could not check that the storage belongs to the database: statussvc cannot be reached."
        except StorageError as error:
            return f"The storage cannot be written: {error}"
        except StageError as error:
            return error.message
        except Exception as error:
            logger.exception("the check of the storage failed")
            return f"The check of the storage failed ({type(error).__name__})."
        return OK
