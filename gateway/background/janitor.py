"""The janitor: a thread that removes from storage what no row refers to, and misses what rows refer to.

    list storage ▸ LeaseGarbage (statussvc decides by the rows) ▸ delete ▸ ConfirmGarbage

Storage is listed before statussvc is asked, and a run's row is committed before its first byte: what has just
begun is never taken for garbage. Every sweep lists anew, so late files of a woken run go in the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from gateway.background.kept_thread import KeptThread
from gateway.background.lost_builds import LostBuilds
from pipeline.errors import Conflict, StatusUnavailable, StorageError
from pipeline.identity import Identified
from pipeline.status import StatusClient
from pipeline.storage import Storage
from protos.tilewright.status.v1 import status_pb2 as pb

DEPTH = {"sources": 3, "pyramids": 3, "scratch": 2}
"""How many parts of a key name one removable thing: see pipeline/storage/directory.py."""

BATCH = 200
"""Things asked about in one call: each costs statussvc a few indexed reads in one transaction. It takes 500 at most."""

OK = "ok"

STOP_PATIENCE = 2.0
"""Seconds that stop() waits for the thread; a deletion cut short is taken up by the next sweep."""

logger = logging.getLogger(__name__)


class Janitor:
    """Sweeps every `interval` seconds, and when poked, until stopped.

    Parameters
    ----------
    status: closing it is the caller's.
    identity: says whether the storage is the right one: of another's nothing is deleted.
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
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = KeptThread("janitor", self._run)

    def start(self) -> None:
        """Begin with a sweep: a crash may have left something."""
        self._thread.start()

    def poke(self) -> None:
        """Have a sweep now: something was deleted. Returns at once; from any thread."""
        self._sweep_wanted.set()
        self._wake.set()

    def suspect(self, tile_id: str) -> None:
        """Have a look whether a pyramid's files are gone: one could not be opened. Returns at once; from any thread."""
        if self._lost.suspect(tile_id):
            self._wake.set()

    def state(self) -> str:
        """Give "ok", or why the last sweep was cut short. From any thread."""
        return self._thread.failure or self._state

    def stop(self) -> None:
        """End after the deletion at hand."""
        self._stopping.set()
        self._wake.set()
        self._thread.stop(STOP_PATIENCE)

    def sweep(self) -> int:
        """Sweep once. Returns how many things were removed.

        Raises StatusUnavailable, StorageError, and Conflict where the storage is not the one of statussvc's database.
        """
        if self._identity is not None:
            self._identity.require()
        removed = 0
        listing = self._found()
        more = True
        while more:
            found = list(islice(listing, BATCH))
            more = len(found) == BATCH
            # Asked also where nothing was found: statussvc knows of builds whose files were lost.
            request = pb.LeaseGarbageRequest(
                found=[pb.StoredItem(prefix=prefix) for prefix in found], token=self._storage.token
            )
            for item in self._status.lease_garbage(request).garbage:
                if self._stopping.is_set():
                    return removed
                self._storage.delete_prefix(item.prefix)
                self._status.confirm_garbage(item)
                removed += 1
        return removed

    def look_around(self) -> None:
        """Look at some of the builds that should be there. Raises as `sweep`."""
        self._lost.look_around(self._stopping)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            self._wake.clear()
            if self._sweep_wanted.is_set() or time.monotonic() >= due:
                self._sweep_wanted.clear()
                self._sweep()
                due = time.monotonic() + self._interval
            try:
                self._lost.look_at_suspects()
            except (Conflict, StatusUnavailable, StorageError) as error:
                logger.warning("whether files of pyramids are gone was not looked at: %s", error)
            except Exception:
                logger.exception("the look for files of pyramids failed")
            self._wake.wait(max(0.0, due - time.monotonic()))

    def _sweep(self) -> None:
        try:
            removed = self.sweep()
            self.look_around()
        except (Conflict, StatusUnavailable, StorageError) as error:
            logger.warning("the sweep of storage was cut short: %s", error)
            self._state = f"The last sweep of storage was cut short: {error}"
        except Exception as error:
            logger.exception("the sweep of storage failed; the next one tries again")
            self._state = f"The last sweep of storage failed ({type(error).__name__})."
        else:
            self._state = OK
            if removed:
                logger.info("removed from storage: %d", removed)

    def _found(self) -> Iterator[str]:
        for kind, depth in DEPTH.items():
            yield from _prefixes(self._storage.list_prefix(kind), depth)


def _prefixes(keys: Iterable[str], depth: int) -> Iterator[str]:
    """The removable things that keys belong to, each once; folders end in a slash."""
    seen: set[str] = set()
    for key in keys:
        parts = key.split("/")
        if len(parts) < depth:
            continue
        prefix = "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")
        if prefix not in seen:
            seen.add(prefix)
            yield prefix
