"""Runs at work, in memory: their beats, their live progress, and which of them are dead.

A run is dead when this process has itself watched its beat stand still for the length of a lease. Only
watched time counts: a clock that jumps, a machine that sleeps or a restart of this service costs the
run nothing but a fresh lease.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db import Counts, Facts, RunRow
from statussvc.enums import StopReason
from statussvc.lifecycle import Stage

STAGE_SPAN = {Stage.INGEST: (0.0, 50.0), Stage.TILER: (50.0, 100.0), Stage.INSPECT: (0.0, 100.0)}
"""Which part of the whole job's percent a stage fills: on a usual line and disk both take about as long."""

FORGET_AFTER = 60.0
"""Seconds for which a stopped run is still told so, and why."""

FIRST_BEAT = 2.0
"""Seconds in which a run at work finds a restarted service: its client tries once a second, and it beats twice in one.
Counts are at most a second old after a crash; shown before that beat they could go back."""


PACE_SECONDS = 5.0
"""Span over which a download's rate is told: short enough to follow the line, long enough not to flicker."""

PACE_LEAST = 0.4
"""Seconds of beats below which no rate is told."""


class Pace:
    """How fast a count has risen lately."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, count: int, now: float) -> None:
        """Takes the count as of now. One that has fallen begins anew."""
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - PACE_SECONDS:
            self._samples.popleft()

    @property
    def per_second(self) -> float | None:
        """Counts a second; None while it is too early to tell."""
        if len(self._samples) < 2:
            return None
        (since, before), (now, count) = self._samples[0], self._samples[-1]
        return (count - before) / (now - since) if now - since >= PACE_LEAST else None


@dataclass(slots=True)
class Lease:
    """One run at work."""

    run_id: str
    dataset_id: str
    stage: Stage
    began: float
    attempt: int = 1
    beat_seq: int = 0
    idle: float = 0.0
    """Seconds that the beat has been watched standing still."""
    changes: int = 0
    """Rises with each change of the progress: the low part of a status's revision."""
    progress: pb.Progress = field(default_factory=pb.Progress)
    stage_percent: float | None = None
    """Highest so far, so that it never goes back."""
    dirty: bool = False
    stop_reason: StopReason | None = None
    restored: bool = False
    """Found at work after a restart, and not heard of since: its counts may be a second old."""
    percent_then: float = 0.0
    """stage_percent when this service first saw the run: what its pace is measured from."""
    kept_then: float | None = 0.0
    """Share, likewise, of what an earlier run had brought; None where that is not known yet."""
    facts: Facts = field(default_factory=Facts)
    """What the run has found out about its source, as it was last written to the dataset's row."""
    pace: Pace = field(default_factory=Pace)
    received: Pace = field(default_factory=Pace)
    """How fast bytes arrive, as of the last ticks: silence shows in it."""
    resumable: bool = False
    """Whether a later run goes on from what this one has done."""
    gives_way_since: float | None = None
    """When it was asked to give its stage back for others; None where it was not."""
    eta: float | None = None
    """Seconds until the stage ended at the pace so far, told at its last change; None too early to tell."""

    def percent(self) -> float | None:
        """Share of the whole job, 0 to 100, where it is known."""
        low, high = STAGE_SPAN[self.stage]
        if self.stage_percent is None:
            return None if self.progress.bytes_downloaded and self.stage is Stage.INGEST else low
        return low + (high - low) * self.stage_percent / 100.0

    def take(self, progress: pb.Progress, now: float) -> None:
        """Takes what the run has done so far."""
        self.progress.CopyFrom(progress)
        if progress.HasField("stage_percent"):
            self.stage_percent = min(100.0, max(self.stage_percent or 0.0, progress.stage_percent))
        if self.kept_then is None:
            self.kept_then = self._kept_percent()
        self.eta = self._eta(now - self.began)
        if self.stage is Stage.INGEST:
            self.pace.note(progress.bytes_downloaded - progress.bytes_kept, now)
        self.changes += 1
        self.dirty = True

    def _eta(self, elapsed: float) -> float | None:
        kept = self._kept_percent() - (self.kept_then or 0.0)
        done = (self.stage_percent or 0.0) - self.percent_then - kept
        if self.stage_percent is None or done < 1.0 or elapsed < 1.0:
            return None
        return elapsed * (100.0 - self.stage_percent) / done

    def _kept_percent(self) -> float:
        total = self.progress.bytes_total
        return 100.0 * self.progress.bytes_kept / total if total else 0.0


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

    def grant(self, run_id: str, dataset_id: str, stage: Stage, attempt: int = 1) -> None:
        """A run has begun, or is found at work after a restart. Again for the same run: no change."""
        if run_id not in self._leases:
            self._leases[run_id] = Lease(run_id, dataset_id, stage, began=self._clock(), attempt=attempt)

    def take_up(self, run: RunRow) -> bool:
        """Grant a run that was found at work, with the counts of its row. Returns False where it is known."""
        if run.run_id in self._leases:
            return False
        self.grant(run.run_id, run.dataset_id, run.stage, run.attempt)
        lease = self._leases[run.run_id]
        lease.progress = pb.Progress(
            bytes_downloaded=run.bytes_downloaded,
            bytes_total=run.bytes_total,
            tiles_done=run.tiles_done,
            tiles_total=run.tiles_total,
            stage_percent=run.stage_percent,
        )
        lease.stage_percent, lease.percent_then = run.stage_percent, run.stage_percent or 0.0
        lease.kept_then = None
        lease.restored = True
        return True

    def at_work(self) -> set[str]:
        """The runs that have not been stopped."""
        return {lease.run_id for lease in self._leases.values() if not lease.stop_reason}

    def of(self, stage: Stage) -> list[Lease]:
        """The runs of a stage that have not been stopped."""
        return [lease for lease in self._leases.values() if lease.stage is stage and not lease.stop_reason]

    @property
    def now(self) -> float:
        """Monotonic seconds, as of `Lease.began`."""
        return self._clock()

    def get(self, run_id: str | None) -> Lease | None:
        """The lease of a run at work that has not been stopped."""
        lease = self._leases.get(run_id) if run_id else None
        return lease if lease is not None and not lease.stop_reason else None

    def unheard(self, run_id: str | None) -> float:
        """Seconds that the first beat of a run found at work is still worth waiting for; 0 for all other runs."""
        lease = self.get(run_id)
        if lease is None or not lease.restored:
            return 0.0
        return max(0.0, FIRST_BEAT - (self._clock() - lease.began))

    def beat(self, run_id: str, beat_seq: int, progress: pb.Progress) -> tuple[StopReason | None, bool]:
        """Take a beat. Returns the reason to stop, None to go on, and whether the progress changed."""
        lease = self._leases.get(run_id)
        if lease is None:
            return StopReason.SUPERSEDED, False
        if lease.stop_reason:
            return lease.stop_reason, False
        if beat_seq <= lease.beat_seq:
            return None, False
        lease.beat_seq, lease.idle = beat_seq, 0.0
        if progress == lease.progress and not lease.restored:
            return None, False
        lease.restored = False
        lease.take(progress, self._clock())
        return None, True

    def end(self, run_id: str) -> None:
        """The run's outcome was taken."""
        self._leases.pop(run_id, None)

    def stop(self, run_id: str, reason: StopReason) -> None:
        """The run's next beat is answered with STOP and this reason."""
        if run_id in self._leases:
            lease = self._leases[run_id]
            lease.stop_reason, lease.idle = reason, 0.0

    def is_dead(self, run_id: str) -> bool:
        """Whether the run has no beat to show for the length of a lease, and has not been stopped. From any thread."""
        lease = self._leases.get(run_id)
        return lease is not None and not lease.stop_reason and lease.idle > self._seconds

    def tick(self, longest: float) -> list[Lease]:
        """Counts watched time, at most `longest` seconds a call. Returns the dead runs; end() them.

        Each may beat again until it is ended: `is_dead` tells.
        """
        now = self._clock()
        watched = min(now - self._last_tick, longest)
        self._last_tick = now
        dead = []
        for lease in list(self._leases.values()):
            lease.idle += watched
            if lease.stop_reason:
                if lease.idle > FORGET_AFTER:
                    self.end(lease.run_id)
            elif self.is_dead(lease.run_id):
                dead.append(lease)
        return dead

    def forget(self) -> None:
        """Nothing is known of any run any more."""
        self._leases.clear()
        self.look_away()

    def look_away(self) -> None:
        """The time since the last tick counts for nobody: this service could not have heard a beat."""
        self._last_tick = self._clock()

    def unflushed(self) -> dict[str, Counts]:
        """Counts that changed since the last call, by run_id."""
        changed: dict[str, Counts] = {}
        for lease in self._leases.values():
            if lease.dirty:
                progress = lease.progress
                changed[lease.run_id] = Counts(
                    bytes_downloaded=progress.bytes_downloaded,
                    bytes_total=progress.bytes_total if progress.HasField("bytes_total") else None,
                    tiles_done=progress.tiles_done,
                    tiles_total=progress.tiles_total if progress.HasField("tiles_total") else None,
                    stage_percent=lease.stage_percent,
                )
                lease.dirty = False
        return changed

    def not_flushed(self, run_ids: Iterable[str]) -> None:
        """What `unflushed` gave could not be written: the next call gives it again."""
        for run_id in run_ids:
            if run_id in self._leases:
                self._leases[run_id].dirty = True
