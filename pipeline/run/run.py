"""A granted stage as the work sees it: progress to report, and whether to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pipeline.errors import Stopped
from pipeline.settings import WorkerSettings
from protos.tilewright.status.v1 import status_pb2 as pb

SHUTDOWN, GIVES_WAY = "shutdown", "gives way"
"""Reasons to stop after which the stage is given back, and nobody is to blame."""

logger = logging.getLogger(__name__)


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

    def note_waiting(self) -> None:
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
