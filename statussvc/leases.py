"""Runs at work, in memory: their beats, their live progress, and which of them are dead.

A run is dead when this process has itself watched its beat stand still for the length of a lease. Only
watched time counts: a clock that jumps, a machine that sleeps or a restart of this service costs the
run nothing but a fresh lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.lifecycle import Stage

STAGE_SPAN = {Stage.INGEST: (0.0, 50.0), Stage.TILER: (50.0, 100.0)}
"""Which part of the whole job's percent a stage fills: on a usual line and disk both take about as long."""

FORGET_AFTER = 60.0
"""Seconds for which a stopped run is still told so, and why."""


@dataclass(slots=True)
class Lease:
    """One run at work."""

    run_id: str
    dataset_id: str
    stage: Stage
    began: float
    beat_seq: int = 0
    idle: float = 0.0
    """Seconds that the beat has been watched standing still."""
    changes: int = 0
    """Rises with each change of the progress: the low part of a status's revision."""
    progress: pb.Progress = field(default_factory=pb.Progress)
    stage_percent: float | None = None
    """Highest so far, so that it never goes back."""
    dirty: bool = False
    stop_reason: str = ""

    def percent(self) -> float | None:
        """Share of the whole job, 0 to 100, where it is known."""
        low, high = STAGE_SPAN[self.stage]
        if self.stage_percent is None:
            return low if self.stage is Stage.TILER else None
        return low + (high - low) * self.stage_percent / 100.0

    def eta(self, now: float) -> float | None:
        """Seconds until the stage ends at the pace so far; None too early to tell."""
        elapsed = now - self.began
        if self.stage_percent is None or self.stage_percent < 1.0 or elapsed < 1.0:
            return None
        return elapsed * (100.0 - self.stage_percent) / self.stage_percent


class Leases:
    """All runs at work. For one thread, the event loop's.

    Parameters
    ----------
    seconds: how long a beat may stand still.
    clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last_tick = clock()
        self._leases: dict[str, Lease] = {}

    def grant(self, run_id: str, dataset_id: str, stage: Stage) -> None:
        """A run has begun, or is found at work after a restart. Again for the same run: no change."""
        if run_id not in self._leases:
            self._leases[run_id] = Lease(run_id, dataset_id, stage, began=self._clock())

    def restore(self, run_id: str, counts: Any) -> None:
        """Takes up the counts that were flushed before a restart."""
        lease = self._leases[run_id]
        for name in ("bytes_downloaded", "bytes_total", "tiles_done", "tiles_total", "stage_percent"):
            if getattr(counts, name) is not None:
                setattr(lease.progress, name, getattr(counts, name))
        lease.stage_percent = counts.stage_percent

    def get(self, run_id: str | None) -> Lease | None:
        """The lease of a run at work that has not been stopped."""
        lease = self._leases.get(run_id) if run_id else None
        return lease if lease is not None and not lease.stop_reason else None

    def beat(self, run_id: str, beat_seq: int, progress: pb.Progress) -> tuple[str, bool]:
        """Takes a beat. Returns the reason to stop ("" to go on), and whether the progress changed."""
        lease = self._leases.get(run_id)
        if lease is None:
            return "superseded", False
        if lease.stop_reason:
            return lease.stop_reason, False
        if beat_seq <= lease.beat_seq:
            return "", False
        lease.beat_seq, lease.idle = beat_seq, 0.0
        if progress == lease.progress:
            return "", False
        lease.progress.CopyFrom(progress)
        if progress.HasField("stage_percent"):
            lease.stage_percent = min(100.0, max(progress.stage_percent, lease.stage_percent or 0.0))
        lease.changes += 1
        lease.dirty = True
        return "", True

    def end(self, run_id: str) -> None:
        """The run's outcome was taken."""
        self._leases.pop(run_id, None)

    def stop(self, run_id: str, reason: str) -> None:
        """The run's next beat is answered with STOP and this reason."""
        if run_id in self._leases:
            lease = self._leases[run_id]
            lease.stop_reason, lease.idle = reason, 0.0

    def tick(self, longest: float) -> list[Lease]:
        """Counts watched time, at most `longest` seconds a call. Returns the dead runs; end() them."""
        now = self._clock()
        watched = min(now - self._last_tick, longest)
        self._last_tick = now
        dead = []
        for lease in list(self._leases.values()):
            lease.idle += watched
            if lease.stop_reason:
                if lease.idle > FORGET_AFTER:
                    self.end(lease.run_id)
            elif lease.idle > self._seconds:
                dead.append(lease)
        return dead

    def unflushed(self) -> dict[str, dict[str, Any]]:
        """Counts changed since the last call, by run_id, as columns of `runs`."""
        changed = {}
        for lease in self._leases.values():
            if lease.dirty:
                progress = lease.progress
                changed[lease.run_id] = {
                    "bytes_downloaded": progress.bytes_downloaded,
                    "bytes_total": progress.bytes_total if progress.HasField("bytes_total") else None,
                    "tiles_done": progress.tiles_done,
                    "tiles_total": progress.tiles_total if progress.HasField("tiles_total") else None,
                    "stage_percent": lease.stage_percent,
                }
                lease.dirty = False
        return changed

    def now(self) -> float:
        """The clock that `eta` counts by."""
        return self._clock()
