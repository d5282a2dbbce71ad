"""Runs at work, in memory: their heartbeats, their live progress, and which of them are dead.

A run is dead once this process itself has received no new heartbeat from it for the length of a lease. Only time in
which the process was listening counts: after a clock jump, a sleep of the machine or a restart, a run gets a new lease.
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
"""The part of the whole job's percent that a stage covers. A download usually takes about as long as a tiling."""

FORGET_AFTER = 60.0
"""Seconds for which a stopped run is still told to stop, and why."""

FIRST_BEAT = 2.0
"""Seconds within which a run at work reaches a restarted service: its client connects once a second, and it beats twice
a second. The counts in its row are up to a second old, so shown before that beat they could seem to go back."""

PACE_SECONDS = 5.0
"""Seconds over which a download's rate is measured: short enough to follow changes, long enough not to flicker."""

PACE_LEAST = 0.4
"""Seconds of heartbeats needed to tell a rate."""


class Rate:
    """How fast a count has risen in the last PACE_SECONDS."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, count: int, now: float) -> None:
        """Add the count as of now. A count that has fallen starts a new measurement."""
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - PACE_SECONDS:
            self._samples.popleft()

    @property
    def per_second(self) -> float | None:
        """The count's rise per second; None while it is too early to tell."""
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
    """Seconds since its last heartbeat, as far as this process was listening."""
    changes: int = 0
    """Number of changes of its progress: the low part of a status's revision."""
    progress: pb.Progress = field(default_factory=pb.Progress)
    stage_percent: float | None = None
    """The highest so far, so that it never goes back."""
    dirty: bool = False
    stop_reason: StopReason | None = None
    restored: bool = False
    """Adopted after a restart, and no heartbeat received since: its counts may be a second old."""
    percent_then: float = 0.0
    """stage_percent when this process first knew the run: its pace is measured from there."""
    kept_then: float | None = 0.0
    """Percent that earlier runs had downloaded by then; None where that is not known yet."""
    facts: Facts = field(default_factory=Facts)
    """What the run has found out about its source, as last written to the dataset's row."""
    host: str = ""
    """Hash of the host that it downloads from, as its row has it; "" where that is not known yet."""
    pace: Rate = field(default_factory=Rate)
    received: Rate = field(default_factory=Rate)
    """How fast bytes arrive, measured at each tick, so that silence counts."""
    resumable: bool = False
    """Whether a later run can resume from what this one has downloaded."""
    gives_way_since: float | None = None
    """When it was asked to give its slot or place to others; None where it was not."""
    gives_place: bool = False
    """Whether it was asked for its place at a host, not for its slot."""
    eta: float | None = None
    """Seconds until the stage ends at the pace so far, as of the last change; None while it is too early to tell."""

    @property
    def is_served(self) -> bool:
        """Whether its source has sent bytes in this run."""
        return self.progress.bytes_downloaded > self.progress.bytes_kept

    def percent(self) -> float | None:
        """Percent of the whole job, 0 to 100; None where it is not known."""
        low, high = STAGE_SPAN[self.stage]
        if self.stage_percent is None:
            return None if self.progress.bytes_downloaded and self.stage is Stage.INGEST else low
        return low + (high - low) * self.stage_percent / 100.0

    def take(self, progress: pb.Progress, now: float) -> None:
        """Take the run's progress."""
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
    """All runs at work. For the event loop's thread only.

    Parameters
    ----------
    seconds: how long a run may send no new heartbeat.
    clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last_tick = clock()
        self._leases: dict[str, Lease] = {}

    def grant(self, run_id: str, dataset_id: str, stage: Stage, attempt: int = 1, host: str = "") -> None:
        """Give a run its lease. Does nothing where it has one.

        Parameters
        ----------
        host: hash of its URL's host.
        """
        if run_id not in self._leases:
            lease = Lease(run_id, dataset_id, stage, began=self._clock(), attempt=attempt, host=host)
            self._leases[run_id] = lease

    def adopt(self, run: RunRow) -> bool:
        """Adopt a run that is at work by its row, with the row's counts. Returns False where it has a lease."""
        if run.run_id in self._leases:
            return False
        self.grant(run.run_id, run.dataset_id, run.stage, run.attempt, run.host_hash or "")
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
        """The ids of runs that have not been stopped."""
        return {lease.run_id for lease in self._leases.values() if not lease.stop_reason}

    def of(self, stage: Stage) -> list[Lease]:
        """The runs of a stage that have not been stopped."""
        return [lease for lease in self._leases.values() if lease.stage is stage and not lease.stop_reason]

    @property
    def now(self) -> float:
        """Monotonic seconds, by the same clock as `Lease.began`."""
        return self._clock()

    def get(self, run_id: str | None) -> Lease | None:
        """The lease of a run at work; None where it has none or was stopped."""
        lease = self._leases.get(run_id) if run_id else None
        return lease if lease is not None and not lease.stop_reason else None

    def first_beat_wait(self, run_id: str | None) -> float:
        """Return the seconds left to wait for the first heartbeat of an adopted run; 0 for all other runs."""
        lease = self.get(run_id)
        if lease is None or not lease.restored:
            return 0.0
        return max(0.0, FIRST_BEAT - (self._clock() - lease.began))

    def beat(self, run_id: str, beat_seq: int, progress: pb.Progress) -> tuple[StopReason | None, bool]:
        """Take a heartbeat. Returns the reason to stop (None: go on), and whether the progress changed."""
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
        """Forget a run whose outcome was recorded."""
        self._leases.pop(run_id, None)

    def stop(self, run_id: str, reason: StopReason) -> None:
        """Have the run's next heartbeats get STOP and this reason as their response."""
        if run_id in self._leases:
            lease = self._leases[run_id]
            lease.stop_reason, lease.idle = reason, 0.0

    def is_dead(self, run_id: str) -> bool:
        """Whether the run sent no heartbeat for the length of a lease, and was not stopped. From any thread."""
        lease = self._leases.get(run_id)
        return lease is not None and not lease.stop_reason and lease.idle > self._seconds

    def tick(self, longest: float) -> list[Lease]:
        """Count the time since the last call, at most `longest` seconds. Returns the dead runs, for the caller to end.

        A run may send a heartbeat until it is ended: ask `is_dead` again.
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
        """Forget all runs."""
        self._leases.clear()
        self.ignore_silence()

    def ignore_silence(self) -> None:
        """Leave out the time since the last tick, in which the service could not have received a heartbeat."""
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
        """Have the next call of `unflushed` return these runs' counts again, since they could not be written."""
        for run_id in run_ids:
            if run_id in self._leases:
                self._leases[run_id].dirty = True
