"""What a dataset has to do, written from the design and not from the code: the oracle of statussvc's state machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.pyramids import tile_id
from protos.tilewright.status.v1 import status_pb2 as pb

DAY = 86400.0
GROWTH, LONGEST_GROWTH, UNLIMITED = 60.0, 3600.0, 8
MOST_REFUSALS, LONGEST_WAIT = 20, 7 * DAY
HOST = "host"
"""Held by its host: all sources have one."""
LEASE, GARBAGE_LEASE, LOST_AFTER, CLOCK_SLACK = 15.0, 600.0, 60.0, 5.0
SILENCE = 10.0

WAITS = {"QUEUED": "INGEST", "DOWNLOADED": "TILER"}
WORKS = {"DOWNLOADING": "INGEST", "TILING": "TILER"}
ENDS = {"READY", "FAILED", "CANCELLED"}
BACK = {"DOWNLOADING": "QUEUED", "TILING": "DOWNLOADED"}


@dataclass
class Limits:
    crashes: int
    retries: int
    base: float
    cap: float
    keep_sources: float


@dataclass(eq=False)
class Run:
    run_id: str
    dataset: Dataset
    attempt: int
    stage: str
    published: float | None
    begun: float = 0.0
    ended_at: float = 0.0
    idle: float = 0.0
    beats: int = 0
    percent: float = 0.0
    ended: tuple[str, str, bool] | None = None
    """How; the answer; whether a wake-up follows."""

    def end(self, how: str, answer: str, now: float, follows: bool = False) -> tuple[str, bool]:
        self.ended, self.ended_at = (how, answer, follows), now
        return answer, follows


@dataclass(eq=False)
class Dataset:
    dataset_id: str
    content: str
    """The SHA-256 of what its download brings."""
    url: str
    state: str = "QUEUED"
    attempt: int = 1
    crashes: int = 0
    retries: int = 0
    run: Run | None = None
    source: str | None = None
    """The key under which its source is stored: its own, or another's of the same URL."""
    held_by: str | None = None
    """Whose download of its URL it waits for."""
    refers: bool = False
    """Whether its bytes, and with them its tile_id, are known."""
    deleted: bool = False
    published: float | None = None
    leased_until: float | None = None
    not_before: tuple[float, float] | None = None
    finished: float | None = None
    failing: bool = False
    """Whether it waits for another try after a failure."""

    refusals: int = 0
    waited: float = 0.0
    failed_by_url: bool = False
    """Whether it failed for a reason that the URL decides."""
    queued: float = 0.0
    """When it began to wait for its present stage."""

    @property
    def tile_id(self) -> str:
        return tile_id(self.content, pb.TileOptions(tile_size=256))

    @property
    def downloads(self) -> bool:
        """Whether it waits for a download or is at it."""
        return self.state in ("QUEUED", "DOWNLOADING") and not self.deleted

    def hold(self, by: str) -> None:
        self.held_by, self.published, self.leased_until = by, None, None

    def count_anew(self) -> None:
        self.crashes = self.retries = self.refusals = 0
        self.waited = 0.0

    def free(self) -> None:
        self.held_by, self.published, self.leased_until = None, None, None
        self.attempt += 1

    def wait(self, state: str, now: float) -> None:
        self.state, self.queued, self.run, self.failing, self.held_by = state, now, None, False, None
        self.published = self.leased_until = self.not_before = self.finished = None

    def again(self, state: str, now: float) -> None:
        self.wait(state, now)
        self.attempt += 1

    def finish(self, state: str, now: float) -> None:
        self.wait(state, now)
        self.finished = now


@dataclass
class Host:
    """What the one host of all sources said."""

    places: int | None = None
    since: float = 0.0
    growth: float = GROWTH
    blocked_until: float | None = None


@dataclass
class Model:
    limits: Limits
    now: float
    datasets: dict[str, Dataset] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    pyramids: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """tile_id to the build that counts, and whether it is being deleted."""
    lost: set[str] = field(default_factory=set)
    """Pyramids whose build counts and was missed in storage."""
    host: Host = field(default_factory=Host)
    storage: set[str] = field(default_factory=set)
    garbage: dict[str, float] = field(default_factory=dict)
    downloaded: dict[str, float] = field(default_factory=dict)
    """When the download of each stored source ended."""

    def alive(self) -> Iterator[Run]:
        return (run for run in self.runs.values() if run.ended is None)

    def built(self, tile_id: str) -> bool:
        return tile_id in self.pyramids and not self.pyramids[tile_id][1] and tile_id not in self.lost

    def waiting(self, stage: str) -> list[Dataset]:
        """Those that wait for a worker."""
        return [
            one
            for one in self.datasets.values()
            if not one.deleted and WAITS.get(one.state) == stage and one.held_by is None
        ]

    def holder(self, one: Dataset) -> Dataset | None:
        """Who downloads its URL or will go on with it."""
        others = [other for other in self._same_url(one) if other is not one]
        at_work = [other for other in others if other.state == "DOWNLOADING"]
        begun = [
            other for other in others if other.attempt > 1 and (one.attempt == 1 or self._line(other) < self._line(one))
        ]
        return next(iter(at_work + sorted(begun, key=self._line)), None)

    def _line(self, one: Dataset) -> tuple[float, int]:
        """Its place among those that wait for the same."""
        return one.queued, list(self.datasets.values()).index(one)

    def fresh(self, one: Dataset) -> Dataset | None:
        """Who has downloaded its URL and is not ready yet, and whose file may be used without asking."""
        for state in ("TILING", "DOWNLOADED"):
            for other in reversed(self.datasets.values()):
                if other is one or other.url != one.url or other.deleted or other.state != state or not other.source:
                    continue
                ended = self.downloaded[other.source]
                if 0.0 <= self.now - ended <= DAY and (one.attempt == 1 or one.queued <= ended):
                    return other
        return None

    def _same_url(self, one: Dataset) -> list[Dataset]:
        return [
            other
            for other in self.datasets.values()
            if other.url == one.url and other.downloads and other.held_by is None
        ]

    def _hold_same_url(self, one: Dataset, by: Dataset) -> None:
        for other in self._same_url(one):
            if other is not by and other.state == "QUEUED":
                other.hold(by.dataset_id)

    def settle(self) -> None:
        """Those that wait for a download that has ended go on."""
        holders = sorted(
            {one.held_by for one in self.datasets.values() if one.held_by not in (None, HOST) and not one.deleted},
            key=str,
        )
        ended = [key for key in holders if key and (key not in self.datasets or not self.datasets[key].downloads)]
        for key in ended:
            holder = self.datasets.get(key)
            held = [one for one in self.datasets.values() if one.held_by == key and not one.deleted]
            if holder is not None and holder.source is not None and not holder.deleted:
                for one in held:
                    self._share(one, holder)
            elif holder is not None and holder.state == "FAILED" and holder.failed_by_url and not holder.deleted:
                for one in held:
                    one.finish("FAILED", self.now)
                    one.failed_by_url = True
            elif held:
                self._take_over(held)

        self._settle_host()

    def _take_over(self, held: list[Dataset]) -> None:
        # Of the same states the oldest; who downloads comes before who waits.
        free = sorted(self._same_url(held[0]), key=lambda one: one.state)
        first = free[0] if free else min(held, key=self._line)
        if not free:
            first.free()
        for one in held:
            if one is not first:
                one.hold(first.dataset_id)

    def _settle_host(self) -> None:
        held = [one for one in self.datasets.values() if one.held_by == HOST and not one.deleted]
        allowed, blocked_until = self.allows()
        if not held or blocked_until is not None:
            return
        # Whoever was refused is behind those that have waited since.
        due = sorted((one for one in held if not self._is_delayed(one)), key=self._line)
        about = [
            one
            for one in self.waiting("INGEST")
            if not self._is_delayed(one) and (not due or self._line(one) < self._line(due[0]))
        ]
        free = len(held) if allowed is None else allowed - self.at_host() - len(about)
        for one in due[: max(0, free)]:
            one.free()
            one.not_before = None

    def allows(self) -> tuple[int | None, float | None]:
        """How many downloads the host allows, and until when none; None for no limit."""
        host = self.host
        places = host.places
        if places is not None:
            grown = int((self.now - host.since) // host.growth) if host.since <= self.now else UNLIMITED
            places = min(places + grown, UNLIMITED)
        is_blocked = host.blocked_until is not None and self.now < host.blocked_until <= self.now + DAY
        return (None if places == UNLIMITED else places), host.blocked_until if is_blocked else None

    def at_host(self) -> int:
        """How many downloads are at work."""
        return sum(one.state == "DOWNLOADING" and not one.deleted for one in self.datasets.values())

    def is_full(self) -> bool:
        allowed, blocked_until = self.allows()
        return blocked_until is not None or (allowed is not None and self.at_host() >= allowed)

    def _first_held(self) -> Dataset | None:
        held = [one for one in self.datasets.values() if one.held_by == HOST and not one.deleted]
        return min((one for one in held if not self._is_delayed(one)), key=self._line, default=None)

    def is_behind_others(self, one: Dataset) -> bool:
        first = self._first_held()
        return self.allows()[0] is not None and first is not None and self._line(one) > self._line(first)

    def hold_for_host(self, own: Dataset) -> None:
        _, blocked_until = self.allows()
        first = None if self.is_full() else self._first_held()
        others = [
            one
            for one in self.waiting("INGEST")
            if one is not own and not self._is_delayed(one) and (first is None or self._line(one) > self._line(first))
        ]
        for one in (own, *others):
            one.hold(HOST)
            if blocked_until is not None:
                one.not_before = (blocked_until, blocked_until)

    def _is_delayed(self, one: Dataset) -> bool:
        return one.not_before is not None and self.now < one.not_before[0] <= self.now + max(self.limits.cap, DAY)

    def _waits_for_source(self, one: Dataset, refused: bool, retry_after: float) -> bool:
        others = self.at_host() - 1
        if refused and others == 0 and self._has_overlapped(one):
            others = 1
        if refused and others > 0 and one.refusals < MOST_REFUSALS:
            self._shrink(others)
            longest = min(self.limits.cap, self.limits.base * 2 ** (one.refusals - 1)) if one.refusals else 0.0
            wish = min(DAY, retry_after)
            one.again("QUEUED", self.now)
            one.held_by = HOST
            one.refusals += 1
            if max(longest, wish):
                one.not_before = (self.now + max(longest / 2, wish), self.now + max(longest, wish))
            return True
        wait = min(DAY, retry_after)
        if wait <= self.limits.cap or one.waited + wait > LONGEST_WAIT:
            return False
        if refused and others == 0:
            self.host.blocked_until = self.now + wait
        one.again("QUEUED", self.now)
        one.waited += wait
        one.failing, one.not_before = True, (self.now + wait, self.now + wait)
        return True

    def _has_overlapped(self, one: Dataset) -> bool:
        """Whether another download was at work beside its run, and has ended since with a file."""
        assert one.run is not None
        since = max(one.run.begun, self.now - 60.0)
        return any(
            run.stage == "INGEST"
            and run.ended is not None
            and run.ended[0] == "completed"
            and run.dataset is not one
            and since <= run.ended_at <= self.now
            for run in self.runs.values()
        )

    def _shrink(self, others: int) -> None:
        host, (allowed, blocked_until) = self.host, self.allows()
        limited = UNLIMITED if allowed is None else allowed
        is_known = allowed is not None or blocked_until is not None
        if not is_known:
            host.growth = GROWTH
        elif host.places is not None and host.places < limited:
            host.growth = min(2 * host.growth, LONGEST_GROWTH)
        host.places, host.since = max(1, min(others, limited if is_known else others)), self.now

    def _share(self, one: Dataset, holder: Dataset) -> None:
        one.source, one.content, one.refers = holder.source, holder.content, True
        if self.built(one.tile_id):
            one.finish("READY", self.now)
        else:
            one.wait("DOWNLOADED", self.now)

    def due(self, empty: set[str]) -> set[tuple[str, int, str]]:
        return {
            (one.dataset_id, one.attempt, WAITS[one.state])
            for one in self.datasets.values()
            if not one.deleted and one.state in WAITS and self._is_due(one, empty)
        }

    def _is_due(self, one: Dataset, empty: set[str]) -> bool:
        if one.held_by is not None:
            return False
        leased, stage = one.leased_until, WAITS[one.state]
        if leased is not None and self.now < leased <= self.now + LEASE:
            return False
        if self._is_delayed(one):
            return False
        if one.published is None or one.published > self.now + CLOCK_SLACK:
            return True
        if one.published > self.now - LOST_AFTER:
            return False
        return stage in empty or any(
            run.published is not None and one.published + LOST_AFTER <= run.published <= self.now + CLOCK_SLACK
            for run in self.runs.values()
            if run.stage == stage
        )

    def begin(self, dataset_id: str, attempt: int, stage: str, run_id: str) -> str:
        one = self.datasets.get(dataset_id)
        if one is None or one.deleted:
            return "DELETED"
        if one.state in ENDS:
            return "CANCELLED" if one.state == "CANCELLED" else "FINISHED"
        if one.run is not None:
            if one.run.run_id == run_id:
                return "GRANT"
            return "BUSY" if (one.attempt, WORKS[one.state]) == (attempt, stage) else "SUPERSEDED"
        if (one.attempt, WAITS[one.state]) != (attempt, stage) or run_id in self.runs:
            return "SUPERSEDED"
        if stage == "TILER" and self.built(one.tile_id):
            one.finish("READY", self.now)
            return "FINISHED"
        if stage == "INGEST":
            if one.held_by is not None:
                return "HELD"
            holder = self.holder(one)
            if holder is not None:
                self._hold_same_url(one, holder)
                return "HELD"
            fresh = self.fresh(one)
            if fresh is not None:
                one.hold(fresh.dataset_id)
                return "HELD"
            if self.is_full() or self.is_behind_others(one):
                self.hold_for_host(one)
                return "HELD"
            self._hold_same_url(one, one)
        one.run = self.runs[run_id] = Run(run_id, one, attempt, stage, one.published, self.now)
        one.state = "DOWNLOADING" if stage == "INGEST" else "TILING"
        one.not_before, one.failing = None, False
        self.storage |= {f"scratch/{run_id}/", self.made_by(one.run)}
        return "GRANT"

    @staticmethod
    def made_by(run: Run) -> str:
        """Where a run puts what it makes; it may lie there from its begin on, and also when it has lost its stage."""
        if run.stage == "INGEST":
            return f"sources/{run.dataset.dataset_id}/{run.attempt}"
        return f"pyramids/{run.dataset.tile_id}/{run.run_id}/"

    def complete(self, run: Run) -> tuple[str, bool]:
        one = run.dataset
        self.storage.add(self.made_by(run))
        self.downloaded.setdefault(self.made_by(run), self.now)
        if run.ended:
            return run.ended[1:] if run.ended[0] == "completed" else ("REFUSED", False)
        if run.stage == "INGEST":
            one.source, one.refers = self.made_by(run), True
            if self.built(one.tile_id):
                one.finish("READY", self.now)
                return run.end("completed", "WON", self.now)
            one.wait("DOWNLOADED", self.now)
            one.leased_until = self.now + LEASE
            return run.end("completed", "WON", self.now, True)
        answer = "LOST" if self.built(one.tile_id) else "WON"
        if answer == "WON":
            self.pyramids[one.tile_id] = (run.run_id, False)
            self.lost.discard(one.tile_id)
        one.finish("READY", self.now)
        return run.end("completed", answer, self.now)

    def fail(self, run: Run, code: str, retryable: bool, retry_after: float, refused: bool) -> str:
        if run.ended:
            return run.ended[1] if run.ended[0] == "failed" else "REFUSED"
        one = run.dataset
        source_lost = code == "source_missing" and run.stage == "TILER"
        if one.state == "DOWNLOADING" and retryable and self._waits_for_source(one, refused, retry_after):
            return run.end("failed", "WON", self.now)[0]
        if source_lost:
            one.source = None
        if not retryable or one.retries == self.limits.retries:
            one.finish("FAILED", self.now)
            one.failed_by_url = code == "source_not_found"
        else:
            one.retries += 1
            one.again("QUEUED" if source_lost else BACK[one.state], self.now)
            one.failing = True
            if not source_lost:
                longest = min(self.limits.cap, self.limits.base * 2 ** (one.retries - 1))
                wish = min(self.limits.cap, retry_after)
                one.not_before = (self.now + max(longest / 2, wish), self.now + max(longest, wish))
        return run.end("failed", "WON", self.now)[0]

    def release(self, run: Run) -> str:
        if run.ended:
            return run.ended[1] if run.ended[0] == "released" else "REFUSED"
        run.dataset.again(BACK[run.dataset.state], self.now)
        return run.end("released", "WON", self.now)[0]

    def pass_watched(self, seconds: float) -> None:
        """Time in which the service was there to see beats stand still."""
        for run in list(self.alive()):
            run.idle += seconds
            if run.idle > SILENCE:
                self.expire(run)

    def expire(self, run: Run) -> None:
        one = run.dataset
        one.crashes += 1
        if one.crashes >= self.limits.crashes:
            one.finish("FAILED", self.now)
            one.failed_by_url = False
        else:
            one.again(BACK[one.state], self.now)
        run.end("expired", "REFUSED", self.now)

    def cancel(self, one: Dataset) -> str:
        if one.deleted or one.state in ENDS:
            return "NotFound" if one.deleted else "Conflict"
        self._stop(one)
        one.finish("CANCELLED", self.now)
        return ""

    def retry(self, one: Dataset) -> str:
        if one.deleted or one.state not in ("FAILED", "CANCELLED"):
            return "NotFound" if one.deleted else "Conflict"
        held = [other for other in self.datasets.values() if other.held_by == one.dataset_id and not other.deleted]
        if one.source is None and held:
            self._take_over(held)
        one.again("QUEUED" if one.source is None else "DOWNLOADED", self.now)
        one.count_anew()
        return ""

    def delete(self, one: Dataset) -> str:
        if one.deleted:
            return "NotFound"
        self._stop(one)
        one.deleted = True
        return ""

    def _stop(self, one: Dataset) -> None:
        if one.run is not None:
            one.run.end("stopped", "REFUSED", self.now)
            one.run = None

    def lease_garbage(self, prefixes: list[str]) -> list[str]:
        leased = []
        for prefix in prefixes:
            if self.in_use(prefix):
                continue
            kind, owner, *rest = prefix.strip("/").split("/")
            if kind == "sources":
                for one in self.datasets.values():
                    if one.source == prefix and not one.deleted:
                        one.source = None
            if kind == "pyramids" and self.pyramids.get(owner, ("",))[0] == rest[0]:
                self.pyramids[owner] = (rest[0], True)
            until = self.garbage.get(prefix)
            if until is None or not self.now < until <= self.now + GARBAGE_LEASE:
                self.garbage[prefix] = self.now + GARBAGE_LEASE
                leased.append(prefix)
        return leased

    def in_use(self, prefix: str) -> bool:
        kind, owner, *rest = prefix.strip("/").split("/")
        if kind == "sources":
            own = self.datasets.get(owner)
            if own and not own.deleted and own.state == "DOWNLOADING" and own.attempt == int(rest[0]):
                return True
            return any(
                one.source == prefix
                and not one.deleted
                and (one.finished is None or one.finished + self.limits.keep_sources > self.now)
                for one in self.datasets.values()
            )
        build = owner if kind == "scratch" else rest[0]
        if build in self.runs and self.runs[build].ended is None:
            return True
        if kind == "scratch":
            return self._to_be_taken_over(build)
        if self.pyramids.get(owner) != (build, False):
            return False
        return any(one.refers and one.tile_id == owner and not one.deleted for one in self.datasets.values())

    def _to_be_taken_over(self, run_id: str) -> bool:
        """Whether the download that this run began goes on with what it finished."""
        run = self.runs.get(run_id)
        if run is None or run.stage != "INGEST" or run.dataset.deleted:
            return False
        ended = [
            one for one in self.runs.values() if one.dataset is run.dataset and one.stage == "INGEST" and one.ended
        ]
        return run.dataset.state in ("QUEUED", "DOWNLOADING") and run is max(ended, key=lambda one: one.attempt)

    def confirm_garbage(self, prefix: str) -> None:
        self.storage.discard(prefix)
        self.garbage.pop(prefix, None)
        kind, owner, *rest = prefix.strip("/").split("/")
        if kind == "pyramids" and self.pyramids.get(owner) == (rest[0], True):
            del self.pyramids[owner]
            self.lost.discard(owner)

    def lose(self, tile_id: str) -> str:
        """The files of the build that counts are missed: one ready dataset makes it again, where none is at it."""
        if self.pyramids[tile_id][1]:
            return ""
        self.lost.add(tile_id)
        showing = [one for one in self.datasets.values() if one.tile_id == tile_id and one.refers and not one.deleted]
        ready = [one for one in showing if one.state == "READY"]
        if not ready or any(one.state not in ENDS for one in showing):
            return ""
        one = next((one for one in reversed(ready) if one.source is not None), ready[-1])
        one.again("QUEUED" if one.source is None else "DOWNLOADED", self.now)
        one.count_anew()
        return one.dataset_id

    def shown_by_nobody(self) -> list[str]:
        """Builds that count and that no dataset refers to, and storage has not: statussvc knows of them by itself."""
        return [
            prefix
            for tile_id, (build, deleting) in sorted(self.pyramids.items())
            if (prefix := f"pyramids/{tile_id}/{build}/") not in self.storage
            and not deleting
            and not any(one.refers and one.tile_id == tile_id and not one.deleted for one in self.datasets.values())
        ]
