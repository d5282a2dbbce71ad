"""Find builds whose files are missing, and report them to statussvc.

See docs/decisions/0017-lost-pyramids-are-made-again.md. All calls except `suspect` come from the janitor's thread.
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
MOST_CHECKED = 2000
"""Builds that one sweep checks, in pages. The next sweep goes on after them."""

MOST_REPORTED = 100
"""Lost builds that one sweep reports, so that making them again does not crowd out new work."""

PAUSE = 60.0
"""Minimum seconds between two checks of a suspected pyramid, however often it is requested."""

MOST_SUSPECTED = 1000
"""Suspected pyramids that are remembered."""

logger = logging.getLogger(__name__)


class LostBuilds:
    """Finds lost builds.

    Parameters
    ----------
    identity: checks that the storage belongs to the database; no build is reported lost if it does not.
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
        """Note that a pyramid's build could not be opened. Return whether it will be checked. Thread-safe."""
        now = time.monotonic()
        with self._lock:
            if now - self._suspected.get(tile_id, -PAUSE) < PAUSE:
                return False
            if len(self._suspected) >= MOST_SUSPECTED:
                self._suspected.clear()
            self._suspected[tile_id] = now
            self._waiting.append(tile_id)
            return True

    def check_suspected(self) -> None:
        """Check the newly suspected pyramids. Raises StorageError, StatusUnavailable, Conflict."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for tile_id in waiting:
            try:
                pyramid = self._status.get_pyramid(tile_id)
            except NotFound:
                continue
            self._check(pb.Build(tile_id=tile_id, build=pyramid.build))

    def check_next(self, stopping: threading.Event) -> None:
        """Check the next MOST_CHECKED builds. Raises StorageError, StatusUnavailable, Conflict."""
        reported = 0
        for _ in range(MOST_CHECKED // PAGE):
            request = pb.ListBuildsRequest(page_token=self._page_token, page_size=PAGE)
            try:
                page = self._status.list_builds(request)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return  # During an upgrade, statussvc may be older than this gateway.
                raise
            for build in page.builds:
                if stopping.is_set() or reported >= MOST_REPORTED:
                    return
                reported += self._check(build)
            self._page_token = page.next_page_token
            if not self._page_token:
                return

    def _check(self, build: pb.Build) -> bool:
        """Report a build to statussvc if it is missing. Return whether a dataset makes it again."""
        # Checked twice: if the storage was missing at the first check and came back, the second one finds the files.
        if not (self._is_missing(build) and self._is_missing(build)):
            return False
        request = pb.ReportLostBuildRequest(build=build, token=self._storage.token)
        dataset_id = self._status.report_lost_build(request).dataset_id
        if dataset_id:
            logger.warning(
                "the files of pyramid %s (build %s) are missing: %s tiles it again",
                build.tile_id,
                build.build,
                dataset_id,
            )
        return bool(dataset_id)

    def _is_missing(self, build: pb.Build) -> bool:
        """Return whether a file of a build is missing. Raises if the whole storage may be missing."""
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
            # Skip this build only: others may be readable.
            logger.warning("could not check whether the files of build %s exist: %s", build.build, error)
        return False
