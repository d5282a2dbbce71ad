"""Report the outcome of a run to statussvc, and give stages back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from pipeline.errors import StageError, StatusUnavailable, StorageError
from pipeline.run.run import GIVES_WAY, SHUTDOWN, Run
from pipeline.status import StatusClient, repeat
from pipeline.texts import sentence
from protos.tilewright.status.v1 import status_pb2 as pb

RELEASE_PATIENCE = 5.0
"""Seconds for which a stopping worker tries to give its stage back. After that, the lease expires."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


def failure_of(error: StageError) -> pb.Failure:
    """Convert an error for statussvc. Untrusted text in its message is cleaned up so that it can be stored."""
    return pb.Failure(code=error.code, message=sentence(error.message), retryable=error.retryable)


def failure_told(dataset_id: str, error: Exception) -> pb.Failure:
    if isinstance(error, StageError):
        failure = failure_of(error)
        logger.warning("%s: %s: %s", dataset_id, failure.code, failure.message)
        return failure
    if isinstance(error, StorageError):
        logger.error("%s: storage: %s", dataset_id, error)
        return pb.Failure(
            code="storage_unavailable", message="The storage could not be read or written.", retryable=True
        )
    logger.error("%s: unexpected error", dataset_id, exc_info=error)
    return pb.Failure(
        code="internal_error",
        message=f"Something went wrong inside Tilewright ({type(error).__name__}). The worker's log has the details.",
        retryable=True,
    )


def give_back(status: StatusClient, run: Run, stopping: threading.Event) -> None:
    """Give the stage back for another run. Nothing is counted against the dataset."""
    request = pb.ReleaseStageRequest(run_id=run.run_id)
    say(lambda: status.release_stage(request), run.wake_up.dataset_id, stopping)


def leave(status: StatusClient, run: Run, stopping: threading.Event) -> None:
    logger.info("%s: run %s stopped: %s", run.wake_up.dataset_id, run.run_id, run.stop_reason)
    if run.stop_reason not in (SHUTDOWN, GIVES_WAY):
        return
    expired = threading.Event()
    timer = threading.Timer(RELEASE_PATIENCE, expired.set)
    timer.daemon = True
    if run.stop_reason == SHUTDOWN:
        timer.start()
    give_up = expired if run.stop_reason == SHUTDOWN else stopping
    request = pb.ReleaseStageRequest(run_id=run.run_id, gave_way=run.stop_reason == GIVES_WAY)
    say(lambda: status.release_stage(request), run.wake_up.dataset_id, give_up)
    timer.cancel()


def say(call: Callable[[], T], dataset_id: str, give_up: threading.Event) -> T | None:
    try:
        return repeat(call, give_up)
    except StatusUnavailable:
        logger.warning("%s: stopping before the outcome could be reported; the lease will expire", dataset_id)
    except grpc.RpcError:
        logger.exception("%s: statussvc refused the outcome; the lease will expire", dataset_id)
    return None
