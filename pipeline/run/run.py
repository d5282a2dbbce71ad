"""The run of a granted stage: the work reports progress to it, and asks it whether to stop."""

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
"""Reasons to stop after which the stage is given back, with nothing counted against the dataset."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of a run, in seconds: in total, and without progress."""

    total: float
    progress: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Return the limits in a worker's settings."""
        return cls(total=settings.stage_time_limit, progress=settings.stage_progress_limit)


class Run:
    """The run of a granted stage. All methods may be called from any thread.

    Attributes
    ----------
    urgent: set when the next heartbeat should be sent at once.
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
        self._has_moved = False
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
        rewritten: pb.Rewritten | None = None,
        source_host: str | None = None,
    ) -> None:
        """Record progress and results so far. The next heartbeat sends them; a preview is sent at once.

        The second host is sent at once too: until then, the run takes a place of the first one. Further hosts are not,
        or a server could cause a heartbeat with each redirect.

        Arguments that are left out keep their values.
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
            if rewritten is not None:
                self._beat.rewritten.CopyFrom(rewritten)
            if source_host is not None and source_host != self._beat.source_host:
                if self._beat.source_host and not self._has_moved:
                    self._has_moved = True
                    self.urgent.set()
                self._beat.source_host = source_host
            if preview is not None:
                self._beat.preview.CopyFrom(preview)
                self.urgent.set()

    def note_waiting(self) -> None:
        """Record that the work waits for its turn, so that it does not count as stalled."""
        with self._lock:
            self._progressed_at = time.monotonic()

    def watch_work(self, worked: Callable[[], float]) -> None:
        """Observe a decoder's CPU time, which decides who is to blame for an exceeded time limit: see BUSY.

        Parameters
        ----------
        worked: returns the CPU seconds of all its threads so far.
        """
        with self._lock:
            self._worked, self._worked_by_then = worked, worked()

    def work(self) -> tuple[float, float]:
        """Return the decoder's CPU seconds in total, and since the last progress; 0 without a decoder."""
        with self._lock:
            worked = self._worked()
            return worked, worked - self._worked_by_then

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, from another thread, when the run is told to stop. If it already is, call it now.

        The callback should unblock the work: close its socket, kill its child.
        """
        with self._lock:
            if not self.stopped.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raise Stopped if the run was told to stop."""
        if self.stopped.is_set():
            raise Stopped(self.stop_reason)

    def keep_slot(self) -> None:
        """Do not give way to other runs any more, since the work is nearly done."""
        self._keeps_slot.set()

    def give_way(self) -> None:
        """Stop the work, to continue later: other runs are waiting, and this one is the slowest."""
        if not self._keeps_slot.is_set():
            self.stop(GIVES_WAY)

    def stop(self, reason: str) -> None:
        """Tell the work to stop. Only the first reason counts."""
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

    @property
    def rewritten(self) -> pb.Rewritten | None:
        """What the source's link was rewritten to; None if it was not, or not yet."""
        with self._lock:
            return self._beat.rewritten if self._beat.HasField("rewritten") else None

    @property
    def source_host(self) -> str:
        """The host that was asked last; "" before the first request."""
        with self._lock:
            return self._beat.source_host

    def snapshot(self) -> tuple[pb.ReportProgressRequest, float]:
        """Return the next heartbeat's request, and the monotonic time of the last progress."""
        with self._lock:
            copy = pb.ReportProgressRequest()
            copy.CopyFrom(self._beat)
            return copy, self._progressed_at
