"""The heartbeat of a run: it renews the lease, sends progress, and follows the orders in statussvc's answers."""

from __future__ import annotations

import logging
import threading
import time

import grpc

from pipeline.errors import StageError, StatusUnavailable
from pipeline.run.outcome import failure_of, say
from pipeline.run.run import SHUTDOWN, Limits, Run
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb

BEAT_INTERVAL = 0.5
"""Seconds between heartbeats. A cancel reaches the work within one interval, and a lease (10 s) lasts for many."""

BUSY = 0.5
"""Share of an exceeded time limit. If a decoder used at least this share in CPU time, the file caused the delay, and
would again. A decoder that was stopped, short of CPU or waiting for storage has used less."""

logger = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Sends heartbeats whatever the work is doing, follows the answers, and enforces the run's time limits."""

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
        """Stop passing orders to the work, which has ended. Heartbeats continue while the outcome is reported."""
        self._settled.set()

    def end(self) -> None:
        self._ended.set()
        self._run.urgent.set()
        self.join()

    def run(self) -> None:
        try:
            self._beat()
        except Exception:
            # Without heartbeats the lease expires, and further work would be lost.
            logger.exception("%s: the heartbeats failed", self._run.wake_up.dataset_id)
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
                logger.exception("%s: statussvc refused a heartbeat", self._run.wake_up.dataset_id)
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
        # Report the failure from this thread, since work that hangs may never return.
        self._run.stop("stalled")
        request = pb.FailStageRequest(run_id=self._run.run_id, failure=failure_of(stall))
        say(lambda: self._status.fail_stage(request), self._run.wake_up.dataset_id, self._ended)


def _blame(worked: float, limit: float, message: str) -> StageError:
    """Return the error for an exceeded time limit. It blames the file if its decoder was busy, else the machine."""
    if worked < BUSY * limit:
        return StageError("stalled", message)
    return StageError("decoder_too_slow", f"{message} Its decoder used {worked:.0f} seconds of CPU time.")
