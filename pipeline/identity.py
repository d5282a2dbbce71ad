"""Check that a storage belongs to the database: docs/decisions/0016."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

import grpc

from pipeline.errors import StatusUnavailable, StorageError, StorageLost
from pipeline.status import StatusClient
from pipeline.storage import DirectoryStorage, StorageMark
from protos.tilewright.status.v1 import status_pb2 as pb

PAUSE = 1.0
"""Seconds between two checks of a storage that is not the right one."""

ADVICE = (
    "Mount or restore the right one; nothing is accepted and nothing is deleted until then. To use this storage "
    "instead, and delete all files in it that this database does not know, start once with --adopt-storage "
    "(TILEWRIGHT_ADOPT_STORAGE=true for a gateway of a farm)."
)

logger = logging.getLogger(__name__)


class Identified(Protocol):
    """Checks the identity of a service's storage."""

    def require(self) -> None:
        """Raise StorageLost if the storage is not the database's, StorageError if it fails, StatusUnavailable."""


class StorageIdentity:
    """Asks statussvc once for the token of its storage, and then checks that the directory has it.

    Parameters
    ----------
    adopt: whether the operator wants this storage to replace the one that the database knew.
    """

    def __init__(self, storage: DirectoryStorage, status: StatusClient, *, adopt: bool = False) -> None:
        self._storage = storage
        self._status = status
        self._adopt = adopt
        self._lock = threading.Lock()

    def require(self) -> None:
        """As Identified.require; also raises grpc.RpcError. May be called from any thread."""
        with self._lock:
            if not self._storage.token:
                self._agree()
        self._storage.check()

    def _agree(self) -> None:
        try:
            self._agree_on(self._storage.mark)
        except OSError as error:
            raise StorageError(f"The storage {self._storage.root}: {error.strerror or error}") from error

    def _agree_on(self, mark: StorageMark) -> None:
        found = mark.read()
        request = pb.IdentifyStorageRequest(token=found, empty=mark.is_alone(), adopt=self._adopt)
        answer = self._status.identify_storage(request)
        if answer.refusal:
            raise StorageLost(f"The storage {self._storage.root} is not this database's. {answer.refusal} {ADVICE}")
        if answer.token != found:
            mark.write(answer.token)
            # The token counts only after it was found in the storage.
            self._status.identify_storage(pb.IdentifyStorageRequest(token=answer.token))
            logger.info("the storage %s now belongs to this database", self._storage.root)
        self._storage.token = answer.token


def wait_for(storage: Identified, stopping: threading.Event) -> bool:
    """Wait until the storage is the right one. Return False if `stopping` is set before."""
    said = ""
    while True:
        try:
            storage.require()
        except (StorageError, StatusUnavailable, grpc.RpcError) as error:
            if str(error) != said:
                said = str(error)
                logger.error("no jobs are started: %s", said)  # noqa: TRY400  the message needs no traceback
        else:
            if said:
                logger.info("jobs are started again: the storage is available")
            return True
        if stopping.wait(PAUSE):
            return False
