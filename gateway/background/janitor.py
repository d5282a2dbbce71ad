"""The janitor: a thread that removes files without a row from storage, and looks for rows without their files.

    list storage ▸ LeaseGarbage (statussvc decides by the rows) ▸ delete ▸ ConfirmGarbage

Storage is listed before statussvc is asked, and a run's row is committed before its first byte is written. So files of
a new run are never taken for garbage. Each sweep lists the storage again, so files that a stale run writes late are
removed by the next sweep.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from gateway.background.lost_builds import LostBuilds
from gateway.background.restarted_thread import RestartedThread
from pipeline.errors import Conflict, StatusUnavailable, StorageError
from pipeline.identity import Identified
from pipeline.status import StatusClient
from pipeline.storage import Storage
from protos.tilewright.status.v1 import status_pb2 as pb

DEPTH = {"sources": 3, "pyramids": 3, "scratch": 2}
"""Number of key parts that name one removable item: see pipeline/storage/directory.py."""

BATCH = 200
"""Items in one rpc. Each costs statussvc a few indexed reads in one transaction. statussvc accepts at most 500."""

OK = "ok"

logger = logging.getLogger(__name__)


class Janitor:
    """Sweeps every `interval` seconds, and when poked, until stopped.

    Parameters
    ----------
    status: the caller closes it.
    identity: checks that the storage belongs to the database; nothing is deleted if it does not.
    """

    def __init__(
        self, status: StatusClient, storage: Storage, interval: float, identity: Identified | None = None
    ) -> None:
        self._identity = identity
        self._status = status
        self._storage = storage
        self._interval = interval
        self._lost = LostBuilds(status, storage, identity)
        self._sweep_wanted = threading.Event()
        self._state = OK
        self._thread = RestartedThread("janitor", self._run)

    def start(self) -> None:
        """Start the thread. It sweeps at once, because a crash may have left files behind."""
        self._thread.start()

    def poke(self) -> None:
        """Ask for a sweep, because something was deleted. Returns at once. Thread-safe."""
        self._sweep_wanted.set()
        self._thread.poke()

    def suspect(self, tile_id: str) -> None:
        """Ask for a check of a pyramid whose files could not be opened. Returns at once. Thread-safe."""
        if self._lost.suspect(tile_id):
            self._thread.poke()

    def state(self) -> str:
        """Return "ok", or why the last sweep was incomplete. Thread-safe."""
        return self._thread.failure or self._state

    def stop(self) -> None:
        """Stop after the current deletion. The next sweep finishes one that is interrupted."""
        self._thread.stop()

    def sweep(self) -> int:
        """Sweep once. Return how many items were removed.

        Raises StatusUnavailable, StorageError, and Conflict if the storage does not belong to statussvc's database.
        """
        if self._identity is not None:
            self._identity.require()
        removed = 0
        listing = self._found()
        more = True
        while more:
            found = list(islice(listing, BATCH))
            more = len(found) == BATCH
            # Also called with an empty list: statussvc may know builds whose files are lost.
            request = pb.LeaseGarbageRequest(
                found=[pb.StoredItem(prefix=prefix) for prefix in found], token=self._storage.token
            )
            for item in self._status.lease_garbage(request).garbage:
                if self._thread.stopping.is_set():
                    return removed
                self._storage.delete_prefix(item.prefix)
                self._status.confirm_garbage(item)
                removed += 1
        return removed

    def check_next(self) -> None:
        """Check whether some of the builds' files exist. Raises the same errors as `sweep`."""
        self._lost.check_next(self._thread.stopping)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._thread.stopping.is_set():
            self._thread.wake.clear()
            if self._sweep_wanted.is_set() or time.monotonic() >= due:
                self._sweep_wanted.clear()
                self._sweep()
                due = time.monotonic() + self._interval
            try:
                self._lost.check_suspected()
            except (Conflict, StatusUnavailable, StorageError) as error:
                logger.warning("could not check suspected pyramids for missing files: %s", error)
            except Exception:
                logger.exception("the check of suspected pyramids failed")
            self._thread.wake.wait(max(0.0, due - time.monotonic()))

    def _sweep(self) -> None:
        try:
            removed = self.sweep()
            self.check_next()
        except (Conflict, StatusUnavailable, StorageError) as error:
            logger.warning("the sweep of storage is incomplete: %s", error)
            self._state = f"The last sweep of storage is incomplete: {error}"
        except Exception as error:
            logger.exception("the sweep of storage failed; the next one tries again")
            self._state = f"The last sweep of storage failed ({type(error).__name__})."
        else:
            self._state = OK
            if removed:
                logger.info("removed %d items from storage", removed)

    def _found(self) -> Iterator[str]:
        for kind, depth in DEPTH.items():
            yield from _prefixes(self._storage.list_prefix(kind), depth)


def _prefixes(keys: Iterable[str], depth: int) -> Iterator[str]:
    """Yield the removable items that the keys belong to, each once. Folders end in a slash."""
    seen: set[str] = set()
    for key in keys:
        parts = key.split("/")
        if len(parts) < depth:
            continue
        prefix = "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")
        if prefix not in seen:
            seen.add(prefix)
            yield prefix
