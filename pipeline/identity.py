"""Whether a storage is the one that the database's rows speak of: docs/decisions/0016."""

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
"""Seconds between two looks at a storage that is not the right one."""

ADVICE = (
    "Mount or restore the right one; nothing is accepted and nothing is deleted until then. To go on with what is "
    "there, and have removed what this database does not know, start once with --adopt-storage "
    "(TILEWRIGHT_ADOPT_STORAGE=true for a gateway of a farm)."
)

logger = logging.getLogger(__name__)


class Identified(Protocol):
    """What a service needs to know of its storage."""

    def require(self) -> None:
        """Raises StorageLost where it is not the database's own, StorageError where it fails, StatusUnavailable."""


class StorageIdentity:
    """Asks statussvc once which storage it speaks of, and holds the directory to that from then on.

    Parameters
    ----------
    adopt: whether an operator has said that this storage is to be used whatever was known of another.
    """

    def __init__(self, storage: DirectoryStorage, status: StatusClient, *, adopt: bool = False) -> None:
        self._storage = storage
        self._status = status
        self._adopt = adopt
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raises StorageLost, StorageError, StatusUnavailable, grpc.RpcError. From any thread."""
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
            # Only once it has been found there, it counts.
            self._status.identify_storage(pb.IdentifyStorageRequest(token=answer.token))
            logger.info("the storage %s is this database's own from now on", self._storage.root)
        self._storage.token = answer.token


def wait_for(storage: Identified, stopping: threading.Event) -> bool:
    """Returns once the storage is the right one; False where it is not and `stopping` is set."""
    said = ""
    while True:
        try:
            storage.require()
        except (StorageError, StatusUnavailable, grpc.RpcError) as error:
            if str(error) != said:
                said = str(error)
                logger.error("no work is begun: %s", said)  # noqa: TRY400  the sentence says it all
        else:
            if said:
                logger.info("work is begun again: the storage is there")
            return True
        if stopping.wait(PAUSE):
            return False
