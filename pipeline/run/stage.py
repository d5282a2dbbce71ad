"""Do one run of a stage: begin, heartbeats, outcome. It is the same for every worker.

    BeginStage ─ granted ─▶ work(run) ─▶ CompleteStage        done
        │                     │      └─▶ FailStage            StageError, or any other exception
        └ DROP: leave         │      └─▶ ReleaseStage         the worker was told to stop, or the run to give way
                              └ STOP from statussvc: leave    cancelled, deleted, superseded

While statussvc cannot be reached, the worker keeps its message and its work, and repeats the rpc.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable

import grpc

from pipeline.errors import StageError, StatusUnavailable, StorageError, StorageLost
from pipeline.identity import Identified, wait_for
from pipeline.run.heartbeat import Heartbeat
from pipeline.run.outcome import failure_told, give_back, leave, say
from pipeline.run.run import Limits, Run
from pipeline.shortages import shortage
from pipeline.status import StatusClient, name_of, repeat
from protos.tilewright.status.v1 import status_pb2 as pb

SHORTAGE_PAUSE = 5.0
"""Seconds to wait before a stage is given back for a lack of files or threads. Other runs may end in that time."""

logger = logging.getLogger(__name__)

Work = Callable[[Run], pb.IngestResult | pb.TilerResult | pb.InspectionReport]


def run_stage(
    status: StatusClient,
    wake_up: pb.WakeUp,
    work: Work,
    *,
    stopping: threading.Event,
    limits: Limits,
    storage: Identified | None = None,
) -> pb.CompleteStageResponse | None:
    """Do one run of a stage, from its wake-up to its outcome. Never raises for an error of the dataset.

    Parameters
    ----------
    work: does the stage. Raises StageError if it fails, Stopped if it was told to stop.
    stopping: set when the worker is told to stop.
    storage: waited for before the run begins. If it is lost, the run is given back, and the dataset is not blamed.

    Returns
    -------
    statussvc's answer to CompleteStage; None if the stage was not completed.
    """
    if storage is not None and not wait_for(storage, stopping):
        logger.warning("%s: stopping while waiting for the storage; the relay wakes another worker", wake_up.dataset_id)
        return None
    run_id = uuid.uuid4().hex
    request = pb.BeginStageRequest(
        wake_up=wake_up, run_id=run_id, worker=f"{socket.gethostname()}:{os.getpid()}", any_of_stage=True
    )
    try:
        begun = repeat(lambda: status.begin_stage(request), stopping)
    except StatusUnavailable:
        logger.warning("%s: stopping while waiting for statussvc; the relay wakes another worker", wake_up.dataset_id)
        return None
    if begun.WhichOneof("result") != "grant":
        reason = name_of(pb.BeginStageResponse.Drop, begun.drop)
        logger.info("%s: attempt %d dropped: %s", wake_up.dataset_id, wake_up.attempt, reason)
        return None
    grant = begun.grant
    # An older statussvc grants the wake-up's own row, and does not name it.
    run = Run(run_id, grant.wake_up if grant.HasField("wake_up") else wake_up, grant)
    beat = Heartbeat(status, run, stopping, limits)
    beat.start()
    try:
        return _report(status, run, beat, _on(storage, work), stopping)
    finally:
        beat.end()


def _on(storage: Identified | None, work: Work) -> Work:
    """Wrap the work, so that its failures and results count only if the storage is still the right one."""

    def checked(run: Run) -> pb.IngestResult | pb.TilerResult | pb.InspectionReport:
        try:
            result = work(run)
        except Exception:
            _require(storage)
            raise
        _require(storage)
        return result

    return checked


def _require(storage: Identified | None) -> None:
    """Raise StorageLost if the storage is not the right one."""
    try:
        if storage is not None:
            storage.require()
    except StorageLost:
        raise
    except (StorageError, StatusUnavailable) as error:
        logger.warning("cannot check that the storage is the right one: %s", error)


def _report(
    status: StatusClient, run: Run, beat: Heartbeat, work: Work, stopping: threading.Event
) -> pb.CompleteStageResponse | None:
    dataset_id = run.wake_up.dataset_id
    try:
        result = work(run)
    except Exception as error:  # noqa: BLE001  # whatever went wrong becomes the dataset's outcome
        _end_without_result(status, run, beat, error, stopping)
        return None
    beat.settle()
    complete = pb.CompleteStageRequest(run_id=run.run_id, rewritten=run.rewritten, source_host=run.source_host)
    match result:
        case pb.IngestResult():
            complete.ingest.CopyFrom(result)
        case pb.TilerResult():
            complete.tiler.CopyFrom(result)
        case pb.InspectionReport():
            complete.inspect.CopyFrom(result)
    answer = say(lambda: status.complete_stage(complete), dataset_id, stopping)
    if answer is not None and answer.answer != pb.ANSWER_WON:
        logger.info("%s: the result was %s", dataset_id, name_of(pb.Answer, answer.answer))
    return answer


def _is_ended(status: StatusClient, run: Run) -> bool:
    """Ask statussvc whether the run has been ended, and stop it then.

    A deletion ends the run and its files are removed, all before the next heartbeat tells the run. What the work meets
    then may be any error.
    """
    beat, _ = run.snapshot()
    try:
        answer = status.report_progress(beat)
    except (StatusUnavailable, grpc.RpcError):
        return False
    if answer.order != pb.ReportProgressResponse.ORDER_STOP:
        return False
    run.stop(answer.reason)
    return True


def _end_without_result(
    status: StatusClient, run: Run, beat: Heartbeat, error: Exception, stopping: threading.Event
) -> None:
    dataset_id = run.wake_up.dataset_id
    if run.stopped.is_set() or (not isinstance(error, StageError) and _is_ended(status, run)):
        beat.settle()
        leave(status, run, stopping)
    elif isinstance(error, StorageLost):
        logger.error("%s: given back: %s", dataset_id, error)
        beat.settle()
        give_back(status, run, stopping)
    elif short := shortage(error):
        # Wait, since the relay offers a returned stage at once. Heartbeats continue, and a stop ends the wait.
        logger.error("%s: given back in %.0f s: %s", dataset_id, SHORTAGE_PAUSE, short)
        run.stopped.wait(SHORTAGE_PAUSE)
        beat.settle()
        give_back(status, run, stopping)
    else:
        failure = failure_told(dataset_id, error)
        beat.settle()
        request = pb.FailStageRequest(run_id=run.run_id, failure=failure, rewritten=run.rewritten)
        if isinstance(error, StageError) and error.retry_after:
            request.retry_after_seconds = error.retry_after
        if isinstance(error, StageError):
            request.refused, request.refused_by = error.refused, error.refused_by
        say(lambda: status.fail_stage(request), dataset_id, stopping)
