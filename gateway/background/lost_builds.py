"""Finds builds whose files are gone, and tells statussvc: docs/decisions/0017-lost-pyramids-are-made-again.md.

Called from the janitor's thread, but for `suspect`.
"""

from __future__ import annotations

import logging
import threading
import time

import grpc

from pipeline.errors import NotFound, ObjectMissing, StorageError, StorageLost
from pipeline.identity import Identified
from pipeline.pyramids import FILES
from pipeline.status import StatusClient
from pipeline.storage import Storage, pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb

PAGE = 200
MOST_LOOKED_AT = 2000
"""Builds that one sweep looks at, a page at a time; the next sweep goes on behind them."""

MOST_TOLD = 100
"""Of them, those that one sweep has made again: new work must not be buried."""

PAUSE = 60.0
"""Seconds before a pyramid that was looked at is suspected again, however often it is asked for."""

MOST_SUSPECTED = 1000
"""Pyramids that are remembered as suspected."""

logger = logging.getLogger(__name__)


class LostBuilds:
    """Looks for them.

    Parameters
    ----------
    identity: says whether the storage is the right one; of another's nothing is missed.
    """

    def __init__(self, status: StatusClient, storage: Storage, identity: Identified | None) -> None:
        self._status = status
        self._storage = storage
        self._identity = identity
        self._lock = threading.Lock()
        self._suspected: dict[str, float] = {}
        self._waiting: list[str] = []
        self._page_token = ""

    def suspect(self, tile_id: str) -> bool:
        """Note that a pyramid's build could not be opened. Returns whether it is to be looked at. From any thread."""
        now = time.monotonic()
        with self._lock:
            if now - self._suspected.get(tile_id, -PAUSE) < PAUSE:
                return False
            if len(self._suspected) >= MOST_SUSPECTED:
                self._suspected.clear()
            self._suspected[tile_id] = now
            self._waiting.append(tile_id)
            return True

    def look_at_suspects(self) -> None:
        """Look at what was suspected since. Raises StorageError, StatusUnavailable, Conflict."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for tile_id in waiting:
            try:
                pyramid = self._status.get_pyramid(tile_id)
            except NotFound:
                continue
            self._look_at(pb.Build(tile_id=tile_id, build=pyramid.build))

    def look_around(self, stopping: threading.Event) -> None:
        """Look at some of all builds. Raises StorageError, StatusUnavailable, Conflict."""
        told = 0
        for _ in range(MOST_LOOKED_AT // PAGE):
            request = pb.ListBuildsRequest(page_token=self._page_token, page_size=PAGE)
            try:
                page = self._status.list_builds(request)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return  # A statussvc that is older than this gateway, during an upgrade.
                raise
            for build in page.builds:
                if stopping.is_set() or told >= MOST_TOLD:
                    return
                told += self._look_at(build)
            self._page_token = page.next_page_token
            if not self._page_token:
                return

    def _look_at(self, build: pb.Build) -> bool:
        """Tell statussvc where a build is missed. Returns whether a dataset makes it again."""
        # Twice: what was away at the first look and is the right one after it is there at the second.
        if not (self._is_missed(build) and self._is_missed(build)):
            return False
        request = pb.ReportLostBuildRequest(build=build, token=self._storage.token)
        dataset_id = self._status.report_lost_build(request).dataset_id
        if dataset_id:
            logger.warning(
                "the files of pyramid %s (build %s) are gone: %s makes it again", build.tile_id, build.build, dataset_id
            )
        return bool(dataset_id)

    def _is_missed(self, build: pb.Build) -> bool:
        """Whether a file is absent. Raises where it may be all of the storage that is."""
        try:
            for name in FILES:
                self._storage.size(pyramid_key(build.tile_id, build.build, name))
        except ObjectMissing:
            if self._identity is not None:
                self._identity.require()
            return True
        except StorageLost:
            raise
        except StorageError as error:
            # Of this build nothing can be told; others may be read.
            logger.warning("whether build %s is there cannot be told: %s", build.build, error)
        return False
