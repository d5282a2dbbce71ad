"""One run of a stage: begin, beat, outcome. The same for every worker.

    BeginStage ─ granted ─▶ work(run) ─▶ CompleteStage        done
        │                     │      └─▶ FailStage            StageError, or any other exception
        └ DROP: leave         │      └─▶ ReleaseStage         the worker was asked to stop, or the run to give way
                              └ STOP from statussvc: leave    cancelled, deleted, superseded

While statussvc cannot be reached the worker keeps its message and its work, and repeats the rpc.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import grpc

from pipeline import faults
from pipeline.errors import StageError, StatusUnavailable, Stopped, StorageError, StorageLost
from pipeline.identity import Identified, wait_for
from pipeline.messages import QUEUE_OF
from pipeline.settings import WorkerSettings
from pipeline.shortages import shortage
from pipeline.status import StatusClient, name_of, repeat
from pipeline.texts import sentence
from protos.tilewright.status.v1 import status_pb2 as pb

BEAT_INTERVAL = 0.5
"""Seconds between heart-beats: cancel reaches the work within one, and a lease (10 s) outlives many."""

SHORTAGE_PAUSE = 5.0
"""Seconds before a stage is given back because this process is short of files or threads: others end meanwhile."""

RELEASE_PATIENCE = 5.0
"""Seconds that a stopping worker tries to give its stage back; past it the lease expires by itself."""

SHUTDOWN, GIVES_WAY = "shutdown", "gives way"
"""Reasons to stop after which the stage is given back, and nobody is to blame."""

BUSY = 0.5
"""Of a time that is over, that a decoder has worked: then it was the file that took it, and would again. One that was
stopped, starved or waited for storage has worked less."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run may take in all, and without any progress, in seconds."""

    total: float
    progress: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Those of a worker."""
        return cls(total=settings.stage_time_limit, progress=settings.stage_progress_limit)


class Run:
    """A granted stage, as the work sees it. All methods may be called from any thread.

    Attributes
    ----------
    urgent: set when the next beat shall not wait for its time.
    """

    def __init__(self, run_id: str, wake_up: pb.WakeUp, grant: pb.Grant) -> None:
        self.run_id = run_id
        self.wake_up = wake_up
        self.grant = grant
        self.stopped = threading.Event()
        self.stop_reason = ""
        self.urgent = threading.Event()
        self._keeps_slot = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._beat = pb.ReportProgressRequest(run_id=run_id)
        self._progressed_at = time.monotonic()
        self._worked: Callable[[], float] = lambda: 0.0
        self._worked_by_then = 0.0

    def report(
        self,
        *,
        bytes_downloaded: int | None = None,
        bytes_total: int | None = None,
        bytes_kept: int | None = None,
        tiles_done: int | None = None,
        tiles_total: int | None = None,
        stage_percent: float | None = None,
        source: pb.SourceInfo | None = None,
        preview: pb.Preview | None = None,
        resumable: bool | None = None,
    ) -> None:
        """Notes progress, and what was found out; the next beat carries it, and a preview is told at once.

        What is left out keeps its value.
        """
        given = {
            "bytes_downloaded": bytes_downloaded,
            "bytes_total": bytes_total,
            "bytes_kept": bytes_kept,
            "tiles_done": tiles_done,
            "tiles_total": tiles_total,
            "stage_percent": stage_percent,
        }
        with self._lock:
            for field, value in given.items():
                if value is not None and getattr(self._beat.progress, field) != value:
                    setattr(self._beat.progress, field, value)
                    self._progressed_at = time.monotonic()
                    self._worked_by_then = self._worked()
            if resumable is not None:
                self._beat.resumable = resumable
            if source is not None:
                self._beat.source.CopyFrom(source)
            if preview is not None:
                self._beat.preview.CopyFrom(preview)
                self.urgent.set()

    def wait(self) -> None:
        """Notes that the work waits its turn, which is no stall."""
        with self._lock:
            self._progressed_at = time.monotonic()

    def watch_work(self, worked: Callable[[], float]) -> None:
        """Has the work of a decoder count where time is over: see BUSY.

        Parameters
        ----------
        worked: gives the seconds of work, of all its threads, that it has done so far.
        """
        with self._lock:
            self._worked, self._worked_by_then = worked, worked()

    def work(self) -> tuple[float, float]:
        """Seconds that a decoder has worked in all, and without any progress; 0 where there is none."""
        with self._lock:
            worked = self._worked()
            return worked, worked - self._worked_by_then

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Has `callback` called, once and from another thread, when the run must stop; at once if it must already.

        Meant to unblock the work: close its socket, kill its child.
        """
        with self._lock:
            if not self.stopped.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raises Stopped when the run must stop."""
        if self.stopped.is_set():
            raise Stopped(self.stop_reason)

    def keep_slot(self) -> None:
        """The work is nearly done: it does not give way to others any more."""
        self._keeps_slot.set()

    def give_way(self) -> None:
        """Others wait, and this run is the slowest: the work stops, to go on later."""
        if not self._keeps_slot.is_set():
            self.stop(GIVES_WAY)

    def stop(self, reason: str) -> None:
        """Tells the work to stop. Only the first reason counts."""
        with self._lock:
            if self.stopped.is_set():
                return
            self.stop_reason = reason
            self.stopped.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("%s: the work could not be unblocked", self.wake_up.dataset_id)

    def snapshot(self) -> tuple[pb.ReportProgressRequest, float]:
        """What the next beat has to say, and the monotonic time of the progress's last change."""
        with self._lock:
            copy = pb.ReportProgressRequest()
            copy.CopyFrom(self._beat)
            return copy, self._progressed_at


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
    """Runs one stage from its wake-up to its outcome. Never raises for what goes wrong with the dataset.

    Parameters
    ----------
    work: does the stage; raises StageError where it cannot, Stopped where it was told to stop.
    stopping: set when the worker has been asked to stop.
    storage: what has to be the right one before anything is begun; a run that loses it is given back, not blamed.

    Returns
    -------
    statussvc's answer to CompleteStage; None where the stage was not done.
    """
    if storage is not None and not wait_for(storage, stopping):
        logger.warning("%s: stopping before the storage was there; the relay wakes another", wake_up.dataset_id)
        return None
    run_id = uuid.uuid4().hex
    request = pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    try:
        begun = repeat(lambda: status.begin_stage(request), stopping)
    except StatusUnavailable:
        logger.warning("%s: stopping before statussvc could be asked; the relay wakes another", wake_up.dataset_id)
        return None
    if begun.WhichOneof("result") != "grant":
        reason = name_of(pb.BeginStageResponse.Drop, begun.drop)
        logger.info("%s: attempt %d dropped: %s", wake_up.dataset_id, wake_up.attempt, reason)
        return None
    run = Run(run_id, wake_up, begun.grant)
    beat = _Beat(status, run, stopping, limits)
    beat.start()
    faults.reach(f"{QUEUE_OF[wake_up.stage]}_after_begin")
    try:
        return _report(status, run, beat, _on(storage, work), stopping)
    finally:
        beat.end()


def _on(storage: Identified | None, work: Work) -> Work:
    """The work, whose failures and results count only where the storage is still the right one."""

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
    """Raises StorageLost."""
    try:
        if storage is not None:
            storage.require()
    except StorageLost:
        raise
    except (StorageError, StatusUnavailable) as error:
        logger.warning("whether the storage is the right one cannot be told: %s", error)


def _report(
    status: StatusClient, run: Run, beat: _Beat, work: Work, stopping: threading.Event
) -> pb.CompleteStageResponse | None:
    dataset_id = run.wake_up.dataset_id
    try:
        result = work(run)
    except Exception as error:  # noqa: BLE001  # whatever went wrong becomes the dataset's outcome
        if run.stopped.is_set():
            _leave(status, run, beat, stopping)
            return None
        if isinstance(error, StorageLost):
            logger.error("%s: given back: %s", dataset_id, error)  # noqa: TRY400  the sentence says it all
            _give_back(status, run, beat, stopping)
            return None
        if short := shortage(error):
            # Paced, since the relay offers what is given back at once; beats go on, and a stop is heard.
            logger.error("%s: given back in %.0f s: %s", dataset_id, SHORTAGE_PAUSE, short)  # noqa: TRY400  says it all
            run.stopped.wait(SHORTAGE_PAUSE)
            _give_back(status, run, beat, stopping)
            return None
        failure = _failure(dataset_id, error)
        beat.settle()
        request = pb.FailStageRequest(run_id=run.run_id, failure=failure)
        if isinstance(error, StageError) and error.retry_after:
            request.retry_after_seconds = error.retry_after
        _say(lambda: status.fail_stage(request), dataset_id, stopping)
        return None
    beat.settle()
    complete = pb.CompleteStageRequest(run_id=run.run_id)
    match result:
        case pb.IngestResult():
            complete.ingest.CopyFrom(result)
        case pb.TilerResult():
            complete.tiler.CopyFrom(result)
        case pb.InspectionReport():
            complete.inspect.CopyFrom(result)
    faults.reach(f"{QUEUE_OF[run.wake_up.stage]}_before_complete")
    answer = _say(lambda: status.complete_stage(complete), dataset_id, stopping)
    if answer is not None and answer.answer != pb.ANSWER_WON:
        logger.info("%s: the result was %s", dataset_id, name_of(pb.Answer, answer.answer))
    return answer


def failure_of(error: StageError) -> pb.Failure:
    """An error as it is told to statussvc: what it quotes of a stranger can be stored."""
    return pb.Failure(code=error.code, message=sentence(error.message), retryable=error.retryable)


def _failure(dataset_id: str, error: Exception) -> pb.Failure:
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


def _give_back(status: StatusClient, run: Run, beat: _Beat, stopping: threading.Event) -> None:
    """Has the stage begun anew by another run, with nothing counted against the dataset."""
    beat.settle()
    request = pb.ReleaseStageRequest(run_id=run.run_id)
    _say(lambda: status.release_stage(request), run.wake_up.dataset_id, stopping)


def _leave(status: StatusClient, run: Run, beat: _Beat, stopping: threading.Event) -> None:
    beat.settle()
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
    _say(lambda: status.release_stage(request), run.wake_up.dataset_id, give_up)
    timer.cancel()


def _say(call: Callable[[], T], dataset_id: str, give_up: threading.Event) -> T | None:
    try:
        return repeat(call, give_up)
    except StatusUnavailable:
        logger.warning("%s: stopping before the outcome could be told; the lease will expire", dataset_id)
    except grpc.RpcError:
        logger.exception("%s: statussvc refused the outcome; the lease will expire", dataset_id)
    return None


class _Beat(threading.Thread):
    """Beats whatever the work is doing, obeys the answers, and holds the run's limits."""

    def __init__(self, status: StatusClient, run: Run, stopping: threading.Event, limits: Limits) -> None:
        super().__init__(name=f"beat-{run.run_id[:8]}", daemon=True)
        self._status = status
        self._run = run
        self._stopping = stopping
        self._limits = limits
        self._began_at = time.monotonic()
        self._settled = threading.Event()
        self._ended = threading.Event()

    def settle(self) -> None:
        """The work is over: beats go on while the outcome is being told, but no order reaches the work."""
        self._settled.set()

    def end(self) -> None:
        self._ended.set()
        self._run.urgent.set()
        self.join()

    def run(self) -> None:
        try:
            self._beat()
        except Exception:
            # Without beats the lease expires: work that goes on would be for nothing.
            logger.exception("%s: the beats failed", self._run.wake_up.dataset_id)
            self._run.stop("beats failed")

    def _beat(self) -> None:
        sequence = 0
        while True:
            self._run.urgent.wait(BEAT_INTERVAL if sequence else 0.0)
            self._run.urgent.clear()
            if self._ended.is_set():
                return
            sequence += 1
            beat, progressed_at = self._run.snapshot()
            beat.beat_seq = sequence
            if not self._settled.is_set():
                if self._stopping.is_set():
                    self._run.stop(SHUTDOWN)
                elif stall := self._stalled(progressed_at):
                    self._give_up(stall)
                    return
            try:
                answer = self._status.report_progress(beat)
            except StatusUnavailable:
                continue
            except grpc.RpcError:
                logger.exception("%s: statussvc refused a beat", self._run.wake_up.dataset_id)
                self._run.stop("refused")
                return
            if answer.order == pb.ReportProgressResponse.ORDER_STOP and not self._settled.is_set():
                self._run.stop(answer.reason)
            elif answer.give_way and not self._settled.is_set():
                self._run.give_way()

    def _stalled(self, progressed_at: float) -> StageError | None:
        now = time.monotonic()
        in_all, in_vain = self._run.work()
        total, progress = self._limits.total, self._limits.progress
        if now - self._began_at > total:
            return _blame(in_all, total, f"The stage took longer than {total:.0f} seconds.")
        if now - progressed_at > progress:
            return _blame(in_vain, progress, f"The stage made no progress for {progress:.0f} seconds.")
        return None

    def _give_up(self, stall: StageError) -> None:
        # Told from here, since work that is wedged may never return to tell it.
        self._run.stop("stalled")
        request = pb.FailStageRequest(run_id=self._run.run_id, failure=failure_of(stall))
        _say(lambda: self._status.fail_stage(request), self._run.wake_up.dataset_id, self._ended)


def _blame(worked: float, limit: float, message: str) -> StageError:
    """Name who is to blame for time that is over: the file, where its decoder has worked; else the machine."""
    if worked < BUSY * limit:
        return StageError("stalled", message)
    return StageError("decoder_too_slow", f"{message} Its decoder has worked {worked:.0f} seconds for that.")
