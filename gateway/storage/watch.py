"""What is known of the storage: whether it is the right one, can be written, and has room."""

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
"""Seconds a look may take: probes commonly give up after a few."""

INTERVAL = 2.0
"""Seconds between two looks without a question: as long may a lost storage go unseen."""

OK = "ok"

logger = logging.getLogger(__name__)


class StorageWatch:
    """Looks at the storage in one thread of its own: while that hangs, no second look is begun.

    Parameters
    ----------
    reserve: bytes that stay free.
    identity: says whether it is the right one.
    """

    def __init__(self, storage: Storage, reserve: int, identity: Identified | None) -> None:
        self._storage = storage
        self._reserve = reserve
        self._identity = identity
        self._thread = StorageThreads(1, 0, patience=float("inf"))
        self._looking: asyncio.Task[str] | None = None
        self._lost = ""

    async def look(self) -> str:
        """Give "ok", or what is wrong, within PATIENCE."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._thread.run(self._look), name="storage-look")
        await asyncio.wait({self._looking}, timeout=PATIENCE)
        if self._looking.done():
            return self._looking.result()
        return f"The storage did not answer within {PATIENCE:.0f} seconds."

    async def watch(self) -> None:
        """Look now and then. Runs until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL)

    def require(self) -> None:
        """Raise StorageLost where the last look found another storage than the database's, or none."""
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
            return "Whether the storage is the right one cannot be told: statussvc cannot be reached."
        except StorageError as error:
            return f"The storage cannot be written: {error}"
        except StageError as error:
            return error.message
        except Exception as error:
            logger.exception("the look at the storage failed")
            return f"The storage cannot be looked at ({type(error).__name__})."
        return OK
