"""statussvc against a model of the design: random calls in random order, with answers lost and clocks that jump."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select

from pipeline.errors import Conflict, NotFound, StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import outbox, purge
from statussvc.db.repository.turns import Turns
from statussvc.db.tables import datasets, metadata, pyramids, runs
from statussvc.leases import FIRST_BEAT, Lease
from statussvc.lifecycle import Stage
from statussvc.policy import Policy
from tests.support.rigs.status_model import DAY, ENDS, HOST, WAITS, WORKS, Dataset, Limits, Model, Run
from tests.support.rigs.status_rig import InlineStatus

T = TypeVar("T")

CONTENTS = ("aa" * 32, "aa" * 32, "bb" * 32)
"""The datasets' bytes, as their SHA-256: two have the same."""
URLS = ("https://example.org/earth.jpg", "https://example.org/map.jpg", "https://example.org/earth.jpg")
"""Two have the same, whose bytes have changed."""

STAGES = {"INGEST": pb.STAGE_INGEST, "TILER": pb.STAGE_TILER}
NAMES = {value: name for name, value in STAGES.items()}
LIMITS = Limits(crashes=2, retries=2, base=2.0, cap=300.0, keep_sources=2 * 3600.0)
NOBODY = "custom_ffffffff"
ANY: Any = None
"""The handlers' context, of which they make no use."""

pick = st.integers(0, 11)
"""Chooses one of what there is, modulo its number."""
likely = st.sampled_from([True, True, True, False])


class Statussvc(RuleBasedStateMachine):
    """Every rule makes one call and one move of the model, and compares the answers."""

    engine: Engine

    @initialize(along=st.tuples(*[st.sampled_from([3, 3, 3, 2, 1, 4, 0])] * len(CONTENTS)))
    def start(self, along: tuple[int, ...]) -> None:
        """Each dataset has come along by so many begins and completes."""
        with self.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.policy = Policy(LIMITS.crashes, LIMITS.retries, LIMITS.base, LIMITS.cap, LIMITS.keep_sources)
        self.status = InlineStatus(self.engine, self.policy)
        self.model = Model(LIMITS, self.status.wall)
        self.messages: list[pb.WakeUp] = []
        self.leased: list[str] = []
        self.shown: dict[str, tuple[pb.DatasetStatus, int]] = {}
        self.percents: dict[tuple[str, int], float] = {}
        self.out_of_line = False
        for content, url in zip(CONTENTS, URLS, strict=True):
            self.create(content, url)
        for one, steps in zip(self.model.datasets.values(), along, strict=True):
            for _ in range(steps):
                self.advance(one)

    def create(self, content: str, url: str) -> None:
        request = pb.CreateDatasetRequest(name="Earth", url=url)
        made = self.call(self.status.users.CreateDataset(request, ANY))
        one = Dataset(made.dataset.dataset_id, content, url, queued=self.model.now)
        holder = self.model.holder(one) or self.model.fresh(one)
        one.held_by = holder.dataset_id if holder else None
        self.model.datasets[one.dataset_id] = one

    # What callers do

    def call(self, call: Coroutine[Any, Any, T]) -> T:
        return self.status.do(call)

    def tell(self, make: Callable[[], Coroutine[Any, Any, T]], lost: bool) -> T:
        """Makes a call of the pipeline; where its answer is lost, makes it again, as workers do."""
        if lost:
            self.status.database.answers_to_lose = 1
            with pytest.raises(StatusUnavailable):
                self.call(make())
        return self.call(make())

    def a_dataset(self, number: int) -> Dataset:
        """One that is not deleted, for most numbers."""
        present = [one for one in self.model.datasets.values() if not one.deleted] if number < 9 else []
        known = present or list(self.model.datasets.values())
        return known[number % len(known)]

    def a_run(self, number: int, alive: bool) -> Run:
        known = list(self.model.alive()) if alive else []
        known = known or list(self.model.runs.values())
        return known[-1 - number % len(known)]

    # Relay

    @rule(empty=st.sets(st.sampled_from(["INGEST", "TILER"])), limit=st.sampled_from([0, 0, 0, 1]))
    def lease_pending(self, empty: set[str], limit: int) -> None:
        self.model.settle()
        due = self.model.due(empty)
        request = pb.LeasePendingRequest(limit=limit, empty_queues=[STAGES[stage] for stage in sorted(empty)])
        wake_ups = self.call(self.status.pipeline.LeasePending(request, ANY)).wake_ups
        leased = {(one.dataset_id, one.attempt, NAMES[one.stage]) for one in wake_ups}
        assert leased <= due
        assert len(leased) == len(wake_ups) == min(len(due), limit or 100)
        for dataset_id, _, _ in leased:
            self.model.datasets[dataset_id].leased_until = self.model.now + 15.0
        self.messages += wake_ups

    @precondition(lambda self: self.messages)
    @rule(number=pick)
    def confirm_published(self, number: int) -> None:
        wake_up = self.messages[-1 - number % len(self.messages)]
        self.call(self.status.pipeline.ConfirmPublished(pb.ConfirmPublishedRequest(wake_up=wake_up), ANY))
        one = self.model.datasets.get(wake_up.dataset_id)
        if one in self.model.waiting(NAMES[wake_up.stage]) and one.attempt == wake_up.attempt:
            one.published, one.leased_until = self.model.now, None

    # Workers

    def begin(self, dataset_id: str, attempt: int, stage: str, run_id: str, lost: bool = False) -> None:
        expected = self.model.begin(dataset_id, attempt, stage, run_id)
        if lost and expected == "FINISHED":
            # The first call made it so, and the second finds it so.
            lost = self.model.datasets[dataset_id].state == "READY"
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=STAGES[stage])
        request = pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker="w")
        answer = self.tell(lambda: self.status.pipeline.BeginStage(request, ANY), lost)
        got = "GRANT" if answer.HasField("grant") else pb.BeginStageResponse.Drop.Name(answer.drop)
        assert got.removeprefix("DROP_") == expected
        if expected == "GRANT":
            one = self.model.datasets[dataset_id]
            assert answer.grant.source_key == (f"sources/{dataset_id}/{attempt}" if stage == "INGEST" else one.source)
            if stage == "TILER":
                assert answer.grant.tile_id == one.tile_id
                assert one.source in self.model.storage

    def new_run_id(self) -> str:
        self.number = getattr(self, "number", 0) + 1
        return f"{self.number:032x}"

    @rule(number=pick, lost=st.booleans())
    def begin_what_waits(self, number: int, lost: bool) -> None:
        """A message in time; its dataset may have moved on all the same."""
        one = self.a_dataset(number)
        self.begin(one.dataset_id, one.attempt, WAITS.get(one.state, "INGEST"), self.new_run_id(), lost)

    @rule(number=pick)
    def begin_and_die(self, number: int) -> None:
        """The commit's answer is lost, and the worker dies before it can ask again."""
        one = self.a_dataset(number)
        is_held = one.state == "QUEUED" and (
            one.held_by is not None
            or self.model.holder(one) is not None
            or self.model.fresh(one) is not None
            or self.model.is_full()
        )
        is_built = one.state == "DOWNLOADED" and self.model.built(one.tile_id)
        if not one.deleted and one.state in WAITS and not is_held and not is_built:
            wake_up = pb.WakeUp(dataset_id=one.dataset_id, attempt=one.attempt, stage=STAGES[WAITS[one.state]])
            request = pb.BeginStageRequest(wake_up=wake_up, run_id=self.new_run_id(), worker="w")
            self.model.begin(one.dataset_id, one.attempt, WAITS[one.state], request.run_id)
            self.status.database.answers_to_lose = 1
            with pytest.raises(StatusUnavailable):
                self.call(self.status.pipeline.BeginStage(request, ANY))
            self.out_of_line = True

    @rule(number=pick, attempt=st.integers(1, 4), stage=st.sampled_from(["INGEST", "TILER"]))
    def begin_by_any_message(self, number: int, attempt: int, stage: str) -> None:
        """Doubled, late or out of order; or of a dataset that was never there."""
        dataset_id = NOBODY if number == 11 else self.a_dataset(number).dataset_id
        self.begin(dataset_id, attempt, stage, self.new_run_id())

    @rule(number=pick, lost=st.booleans())
    def begin_whose_turn_it_is(self, number: int, lost: bool) -> None:
        """A message that may begin any row of its stage. All sources have one host: the oldest comes first."""
        own = self.a_dataset(number)
        stage, run_id = WAITS.get(own.state, "INGEST"), self.new_run_id()
        if own in self.model.waiting(stage) and own.published is None:
            own.published, own.leased_until = self.model.now, None
        published = own.published if own in self.published(stage) else None
        lost = lost and not (stage == "TILER" and any(self.model.built(one.tile_id) for one in self.published(stage)))
        wake_up = pb.WakeUp(dataset_id=own.dataset_id, attempt=own.attempt, stage=STAGES[stage])
        request = pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker="w", any_of_stage=True)
        answer = self.tell(lambda: self.status.pipeline.BeginStage(request, ANY), lost)
        got = "GRANT" if answer.HasField("grant") else pb.BeginStageResponse.Drop.Name(answer.drop)
        expected = "HELD"
        while expected == "HELD":
            waiting = self.published(stage)
            chosen = min(waiting, key=lambda one: one.published or 0.0, default=own)
            expected = self.model.begin(chosen.dataset_id, chosen.attempt, stage, run_id)
            if not waiting:
                break
        assert got.removeprefix("DROP_") == expected
        if run_id in self.model.runs:
            assert answer.grant.wake_up.dataset_id == chosen.dataset_id
            self.model.runs[run_id].published = published

    def published(self, stage: str) -> list[Dataset]:
        """Those that wait, and whose messages are in the queue, the oldest first."""
        return [one for one in self.model.waiting(stage) if one.published is not None]

    def advance(self, one: Dataset) -> None:
        """Begins the stage that waits, or completes the one at work."""
        if one.run is not None:
            self.complete_run(one.run, lost=False)
        elif one.state in WAITS:
            self.begin(one.dataset_id, one.attempt, WAITS[one.state], self.new_run_id())

    @precondition(lambda self: self.model.runs)
    @rule(number=pick, alive=likely)
    def begin_again(self, number: int, alive: bool) -> None:
        run = self.a_run(number, alive)
        self.begin(run.dataset.dataset_id, run.attempt, run.stage, run.run_id)

    @precondition(lambda self: self.model.runs)
    @rule(number=pick, alive=likely, lost=st.booleans())
    def complete(self, number: int, alive: bool, lost: bool) -> None:
        self.complete_run(self.a_run(number, alive), lost)

    def complete_run(self, run: Run, lost: bool) -> None:
        request = pb.CompleteStageRequest(run_id=run.run_id)
        if run.stage == "INGEST":
            request.ingest.sha256, request.ingest.bytes = run.dataset.content, 1234
        else:
            request.tiler.CopyFrom(
                pb.TilerResult(width=1000, height=700, format=pb.TILE_FORMAT_JPEG, tile_count=30, bytes=99)
            )
        expected = self.model.complete(run)
        answer = self.tell(lambda: self.status.pipeline.CompleteStage(request, ANY), lost)
        assert (pb.Answer.Name(answer.answer).removeprefix("ANSWER_"), answer.HasField("next")) == expected
        if answer.HasField("next"):
            assert (answer.next.dataset_id, answer.next.attempt) == (run.dataset.dataset_id, run.attempt)
            self.messages.append(answer.next)

    @precondition(lambda self: self.model.runs)
    @rule(
        number=pick,
        alive=likely,
        lost=st.booleans(),
        kind=st.sampled_from(["retryable", "retryable", "permanent", "source_not_found", "source_missing"]),
        retry_after=st.sampled_from([0.0, 100.0, 10_000.0]),
        refused=st.booleans(),
    )
    def fail(self, number: int, alive: bool, lost: bool, kind: str, retry_after: float, refused: bool) -> None:
        run = self.a_run(number, alive)
        code = kind if kind.startswith("source_") else "stalled"
        retryable = kind in ("retryable", "source_missing")
        request = pb.FailStageRequest(
            run_id=run.run_id,
            failure=pb.Failure(code=code, message="It did not work.", retryable=retryable),
            retry_after_seconds=retry_after,
            refused=refused,
        )
        expected = self.model.fail(run, code, retryable, retry_after, refused)
        answer = self.tell(lambda: self.status.pipeline.FailStage(request, ANY), lost)
        assert pb.Answer.Name(answer.answer).removeprefix("ANSWER_") == expected

    @precondition(lambda self: self.model.runs)
    @rule(number=pick, alive=likely, lost=st.booleans())
    def release(self, number: int, alive: bool, lost: bool) -> None:
        run = self.a_run(number, alive)
        request = pb.ReleaseStageRequest(run_id=run.run_id)
        expected = self.model.release(run)
        answer = self.tell(lambda: self.status.pipeline.ReleaseStage(request, ANY), lost)
        assert pb.Answer.Name(answer.answer).removeprefix("ANSWER_") == expected

    @precondition(lambda self: self.model.runs)
    @rule(number=pick, alive=likely, rises=st.integers(0, 3), more=st.integers(-20, 40))
    def beat(self, number: int, alive: bool, rises: int, more: int) -> None:
        run = self.a_run(number, alive)
        self.send_beat(run)
        for _ in range(rises):
            run.beats += 1
            run.percent = min(100.0, max(0.0, run.percent + more))
            self.send_beat(run)
        if rises and not run.ended:
            run.idle = 0.0

    def send_beat(self, run: Run) -> None:
        request = pb.ReportProgressRequest(
            run_id=run.run_id, beat_seq=run.beats, progress=pb.Progress(stage_percent=run.percent)
        )
        answer = self.call(self.status.pipeline.ReportProgress(request, ANY))
        if run.ended:
            assert answer.order == pb.ReportProgressResponse.ORDER_STOP or self.out_of_line
            assert answer.reason in ("cancelled", "deleted", "superseded") or self.out_of_line
        else:
            assert answer.order == pb.ReportProgressResponse.ORDER_CONTINUE or self.out_of_line

    # Users

    @rule(
        number=pick, lost=st.booleans(), possible=likely, what=st.sampled_from(["cancel", "retry", "retry", "delete"])
    )
    def order(self, number: int, lost: bool, possible: bool, what: str) -> None:
        one, users = self.a_dataset(number), self.status.users
        fit = {"cancel": {*WAITS, *WORKS}, "retry": {"FAILED", "CANCELLED"}, "delete": {*WAITS, *WORKS, *ENDS}}[what]
        fitting = [other for other in self.model.datasets.values() if other.state in fit and not other.deleted]
        if possible and fitting:
            one = fitting[number % len(fitting)]
        expected = getattr(self.model, what)(one)
        make: Callable[[], Coroutine[Any, Any, Any]] = {
            "cancel": lambda: users.CancelDataset(pb.CancelDatasetRequest(dataset_id=one.dataset_id), ANY),
            "retry": lambda: users.RetryDataset(pb.RetryDatasetRequest(dataset_id=one.dataset_id), ANY),
            "delete": lambda: users.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=one.dataset_id), ANY),
        }[what]
        if expected:
            with pytest.raises((Conflict, NotFound)) as refused:
                self.call(make())
            assert type(refused.value).__name__ == expected
        elif lost:
            # A person may leave it at that: what was ordered is done, and the run hears of it at the next tick.
            self.status.database.answers_to_lose = 1
            with pytest.raises(StatusUnavailable):
                self.call(make())
            self.out_of_line = True
        else:
            self.call(make())

    # Time and the service itself

    @rule(seconds=st.sampled_from([2.0, 2.0, 16.0, 61.0, 400.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        """Time in which the service watches for two seconds; for the rest it is frozen."""
        self.tick(seconds)

    @rule()
    def silence(self) -> None:
        """Twelve seconds without a beat."""
        for _ in range(6):
            self.tick(2.0)

    @rule(seconds=st.sampled_from([DAY, -DAY]))
    def wall_clock_jumps(self, seconds: float) -> None:
        self.status.wall += seconds
        self.model.now = self.status.wall

    def tick(self, seconds: float) -> None:
        self.status.wall += seconds
        self.status.monotonic += seconds
        self.model.now = self.status.wall
        self.call(self.status.housekeeper.reconcile())
        if self.out_of_line:
            self.status.monotonic += FIRST_BEAT
        self.out_of_line = False
        self.model.pass_watched(min(seconds, 2.0))
        self.call(self.status.housekeeper.expire(longest=2.0))

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        """Stopped in order it flushes first. Runs at work are heard of again, or for two seconds nobody is told."""
        if orderly:
            self.call(self.status.housekeeper.reconcile())
        self.status.start()
        self.out_of_line = False
        for run in self.model.alive():
            run.idle = 0.0
            if run.beats:
                run.beats += 1
                self.send_beat(run)
        self.status.monotonic += FIRST_BEAT
        self.call(self.status.housekeeper.expire(longest=0.0))

    # Janitor

    @rule(confirm=st.booleans())
    def sweep(self, confirm: bool) -> None:
        found = [*sorted(self.model.storage), f"sources/{NOBODY}/1", f"scratch/{'f' * 32}/"]
        kept = {prefix for prefix in found if self.model.in_use(prefix)}
        expected = self.model.lease_garbage([*found, *self.model.shown_by_nobody()])
        request = pb.LeaseGarbageRequest(found=[pb.StoredItem(prefix=prefix) for prefix in found])
        leased = [item.prefix for item in self.call(self.status.pipeline.LeaseGarbage(request, ANY)).garbage]
        assert leased == expected
        assert not kept.intersection(leased)
        self.leased += leased
        if confirm:
            for prefix in leased:
                self.remove(prefix)

    @precondition(lambda self: self.model.pyramids)
    @rule(number=pick, build=st.sampled_from(["", "", "", "9" * 32]), lost=st.booleans())
    def lose(self, number: int, build: str, lost: bool) -> None:
        """A build's files are gone, and a janitor says so; of one that does not count, nobody minds."""
        tile = sorted(self.model.pyramids)[number % len(self.model.pyramids)]
        counting = self.model.pyramids[tile][0]
        if not build:
            self.model.storage.discard(f"pyramids/{tile}/{counting}/")
        expected = "" if build else self.model.lose(tile)
        request = pb.ReportLostBuildRequest(build=pb.Build(tile_id=tile, build=build or counting))
        answer = self.tell(lambda: self.status.pipeline.ReportLostBuild(request, ANY), lost)
        # Asked again, it has somebody at work already.
        assert answer.dataset_id == ("" if lost else expected)

    @precondition(lambda self: self.leased)
    @rule(number=pick)
    def remove_late(self, number: int) -> None:
        """A janitor may be slow, and may say it twice."""
        self.remove(self.leased[number % len(self.leased)])

    def remove(self, prefix: str) -> None:
        # What an earlier run finished may go at any time once it was leased: the next then starts over.
        assert prefix.startswith("scratch/") or not self.model.in_use(prefix)
        self.model.confirm_garbage(prefix)
        request = pb.ConfirmGarbageRequest(item=pb.StoredItem(prefix=prefix))
        self.call(self.status.pipeline.ConfirmGarbage(request, ANY))

    # The service by itself

    @rule()
    def purge(self) -> None:
        """All that is old by now goes: what is left has to do what it did before."""
        now = self.status.wall
        with self.engine.begin() as connection:
            purge.deleted(connection, now, now)
            purge.overtaken_runs(connection, now, purge.START, now)
            left = set(connection.scalars(select(datasets.c.dataset_id)))
            left_runs = set(connection.scalars(select(runs.c.run_id)))
        assert all(one.deleted for one in self.model.datasets.values() if one.dataset_id not in left)
        assert all(run.ended for run in self.model.runs.values() if run.run_id not in left_runs)
        self.model.datasets = {key: one for key, one in self.model.datasets.items() if key in left}
        self.model.runs = {key: run for key, run in self.model.runs.items() if key in left_runs}
        assert all(run.dataset.dataset_id in left for run in self.model.runs.values())

    # What always holds

    @invariant()
    def rows_are_as_the_model(self) -> None:
        with self.engine.connect() as connection:
            rows = connection.execute(select(datasets)).all()
            built = {row.tile_id: (row.build, row.deleting) for row in connection.execute(select(pyramids))}
            working = set(connection.scalars(select(runs.c.run_id).where(runs.c.ended_at.is_(None))))
        assert len(rows) == len(self.model.datasets)
        for row in rows:
            one = self.model.datasets[row.dataset_id]
            assert (row.deleted_at is not None) == one.deleted
            if one.deleted:
                continue
            held_by = HOST if row.held_by == f"host:{row.host_hash}" else row.held_by
            got = (row.state, row.attempt, row.crashes, row.retries, row.run_id, row.source_key, held_by)
            run_id = one.run.run_id if one.run else None
            assert got == (one.state, one.attempt, one.crashes, one.retries, run_id, one.source, one.held_by)
            assert row.held_by is None or row.published_at is None
            assert row.tile_id == (one.tile_id if one.refers else None)
            assert one.source is None or one.source in self.model.storage
            assert (row.refusals, row.waited) == (one.refusals, one.waited)
            if one.not_before is not None and one.state in WAITS:
                low, high = one.not_before
                assert low <= row.not_before <= high
                one.not_before = (row.not_before, row.not_before)
            if one.state == "READY":
                build, deleting = built[one.tile_id]
                assert not deleting
                assert f"pyramids/{one.tile_id}/{build}/" in self.model.storage or one.tile_id in self.model.lost
        assert built == self.model.pyramids
        assert working == {run.run_id for run in self.model.alive()}
        assert working == self.status.core.leases.at_work() or self.out_of_line

    @invariant()
    def what_is_shown_has_a_new_revision_and_does_not_go_back(self) -> None:
        page = self.call(self.status.users.ListDatasets(pb.ListDatasetsRequest(), ANY)).datasets
        present = [one.dataset_id for one in self.model.datasets.values() if not one.deleted]
        assert [dataset.dataset_id for dataset in page] == present[::-1]
        for dataset in page:
            one, seen = self.model.datasets[dataset.dataset_id], dataset.status
            assert pb.State.Name(seen.state) == f"STATE_{one.state}"
            assert seen.HasField("failure") == (one.failing or one.state in ("FAILED", "CANCELLED"))
            assert seen.HasField("pyramid") == (one.state == "READY")
            revision, seen.revision = seen.revision, 0
            if one.dataset_id in self.shown:
                before, last = self.shown[one.dataset_id]
                assert revision > last or (revision == last and seen == before)
                assert seen.attempt >= before.attempt
            self.shown[one.dataset_id] = (seen, revision)
            if seen.HasField("percent"):
                key = (one.dataset_id, seen.attempt)
                assert seen.percent >= self.percents.get(key, 0.0)
                self.percents[key] = seen.percent

    @invariant()
    def what_waits_can_be_published_in_the_end(self) -> None:
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps % 3:  # looks at the same rows for many steps, and is what takes longest
            return
        waiting = {
            (one.dataset_id, one.attempt)
            for one in self.model.datasets.values()
            if one.state in WAITS and not one.deleted and one.held_by is None
        }
        # A time of publishing that lies ahead, since the clock was set back, may be just about now when it has passed.
        for later in (LIMITS.cap + 100.0, DAY + 100.0, DAY + 200.0, 2 * DAY + 100.0, 2 * DAY + 200.0):
            if waiting:
                with self.engine.connect() as connection:  # rolled back
                    due = outbox.lease_pending(
                        connection, 100, list(Stage), self.policy, self.status.wall + later, Turns()
                    )
                waiting -= {(one.dataset_id, one.attempt) for one in due}
        assert not waiting

    def teardown(self) -> None:
        """Whatever went before: workers that work end every dataset."""
        if not hasattr(self, "model"):
            return
        self.silence()
        self.tick(400.0)
        for _ in range(3 * len(CONTENTS)):  # each may wait for another, and for the host
            self.tick(2 * DAY)
            self.lease_pending({"INGEST", "TILER"}, 0)
            for one in self.model.datasets.values():
                while not one.deleted and one.state not in ENDS and one.held_by is None:
                    self.advance(one)
        assert all(one.deleted or one.state in ENDS for one in self.model.datasets.values())
        self.rows_are_as_the_model()
        assert not list(self.model.alive())


def drive(engine: Engine, examples: int, steps: int) -> None:
    machine = type("Machine", (Statussvc,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            phases=[Phase.generate, Phase.shrink],
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def walk(engine: Engine, seed: int, steps: int) -> None:
    """A long way through the same rules, which Hypothesis with its short ones seldom takes: deep histories."""
    machine = type("Machine", (Statussvc,), {"engine": engine})()
    choose = Random(seed)  # noqa: S311  # chooses tests

    def call(name: str, **choices: list[Any]) -> None:
        rules_arguments = {argument: choose.choice(values) for argument, values in choices.items()}
        getattr(machine, name)(**rules_arguments)

    numbers, alive, rarely = list(range(12)), [True] * 5 + [False], [False] * 3 + [True]
    orders = ["cancel", "retry", "retry", "retry"]
    kinds = ["retryable", "retryable", "permanent", "source_not_found", "source_missing"]
    machine.start(tuple(choose.randrange(5) for _ in CONTENTS))
    for step in range(steps):
        if sum(not one.deleted for one in machine.model.datasets.values()) < len(CONTENTS):
            machine.create(choose.choice(CONTENTS), choose.choice(URLS))
        ways: list[Callable[[], None]] = [
            lambda: call("lease_pending", empty=[set(), {"INGEST"}, {"INGEST", "TILER"}], limit=[0, 0, 1]),
            *[lambda: call("begin_what_waits", number=numbers, lost=rarely)] * 2,
            *[lambda: call("begin_whose_turn_it_is", number=numbers, lost=rarely)] * 2,
            lambda: call("begin_by_any_message", number=numbers, attempt=[1, 2, 3, 4, 5], stage=["INGEST", "TILER"]),
            lambda: call("order", number=numbers, lost=rarely, possible=alive, what=orders),
            lambda: call("time_passes", seconds=[2.0, 16.0, 61.0, 400.0]),
            lambda: call("sweep", confirm=[True, False]),
            machine.purge,
        ]
        if choose.random() < 0.15:
            ways = [
                lambda: call("begin_and_die", number=numbers),
                machine.silence,
                lambda: call("wall_clock_jumps", seconds=[DAY, -DAY]),
                lambda: call("time_passes", seconds=[3 * 3600.0]),
                lambda: call("restart", orderly=[True, False]),
                lambda: call("order", number=numbers, lost=rarely, possible=[True], what=["delete"]),
            ]
        elif machine.model.runs and choose.random() < 0.5:
            ways = [
                *[lambda: call("complete", number=numbers, alive=alive, lost=rarely)] * 4,
                lambda: call(
                    "fail",
                    number=numbers,
                    alive=alive,
                    lost=rarely,
                    kind=kinds,
                    retry_after=[0.0, 1000.0],
                    refused=alive,
                ),
                lambda: call("release", number=numbers, alive=alive, lost=rarely),
                lambda: call("begin_again", number=numbers, alive=alive),
                lambda: call("beat", number=numbers, alive=alive, rises=[0, 1, 2, 3], more=list(range(-20, 40))),
            ]
            if machine.messages:
                ways.append(lambda: call("confirm_published", number=[0, 0, 1, 2, 5]))
            if machine.model.pyramids:
                ways.append(lambda: call("lose", number=numbers, build=["", "9" * 32], lost=rarely))
            if machine.leased:
                ways.append(lambda: call("remove_late", number=numbers))
        try:
            choose.choice(ways)()
            machine.rows_are_as_the_model()
            machine.what_is_shown_has_a_new_revision_and_does_not_go_back()
            machine.what_waits_can_be_published_in_the_end()
        except BaseException as error:
            error.add_note(f"seed {seed}, step {step}")
            raise
    machine.teardown()


@pytest.fixture(autouse=True)
def builds_of_any_age_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statussvc.db.repository.lost_builds.SETTLED", -1000 * DAY)


@pytest.fixture(autouse=True)
def hosts_send_bytes_to_all_that_they_do_not_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "is_served", True)


def test_any_order_of_calls_does_what_the_design_says_on_sqlite(sqlite: Engine) -> None:
    drive(sqlite, examples=80, steps=20)


def test_long_histories_do_what_the_design_says_on_sqlite(sqlite: Engine) -> None:
    for seed in range(30):
        walk(sqlite, seed, steps=80)


def test_any_order_of_calls_does_what_the_design_says_on_postgres(postgres: Engine) -> None:
    drive(postgres, examples=12, steps=20)


def test_long_histories_do_what_the_design_says_on_postgres(postgres: Engine) -> None:
    for seed in range(100, 105):
        walk(postgres, seed, steps=80)
