"""Messages and rows stay in balance, whichever row a message begins: no row waits without a message for it.

A queue in memory carries the messages. It loses none, so that nothing may be left to what finds lost ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.tables import datasets, metadata
from statussvc.enums import STAGES
from statussvc.lifecycle import FINAL, WAITING, WORKING, Stage, State
from statussvc.policy import Policy
from tests.support.rigs.status_rig import InlineStatus

HOSTS = ("flood.example", "flood.example", "flood.example", "other.example", "third.example")
POLICY = Policy(crash_limit=9, retry_limit=9, retry_base=1.0, retry_cap=4.0, lost_after=1e9)
"""Nothing ever counts as lost."""
ANY: Any = None
"""The handlers' context, of which they make no use."""


class Stack:
    """statussvc, a relay, a queue for each stage, and workers that die at any point."""

    def __init__(self, engine: Engine, choose: Random) -> None:
        self.engine, self.choose = engine, choose
        self.status = InlineStatus(engine, POLICY)
        self.queues: dict[Stage, deque[pb.WakeUp]] = {stage: deque() for stage in Stage}
        self.unconfirmed: list[pb.WakeUp] = []
        self.runs = self.held = 0

    def call(self, rpc: Callable[[Any, Any], Any], request: Any) -> Any:
        return self.status.do(rpc(request, ANY))

    def submit(self) -> None:
        host = self.choose.choice(HOSTS)
        url = f"https://{host}/{self.choose.choice('aaabcdefgh')}"
        sha256 = self.choose.choice(["", "", "", f"{0:064x}"])
        self.call(self.status.users.CreateDataset, pb.CreateDatasetRequest(name="Earth", url=url, sha256=sha256))

    def relay(self) -> None:
        """Publishes some wake-ups. Their confirms come later, in any order, or never: then they are leased again."""
        for wake_up in self.call(self.status.pipeline.LeasePending, pb.LeasePendingRequest(limit=3)).wake_ups:
            self.publish(wake_up)

    def publish(self, wake_up: pb.WakeUp) -> None:
        if self.choose.random() < 0.9:  # else the gateway dies before
            self.queues[STAGES[wake_up.stage]].append(wake_up)
            if self.choose.random() < 0.9:
                self.unconfirmed.append(wake_up)

    def confirm(self) -> None:
        if self.unconfirmed:
            wake_up = self.unconfirmed.pop(self.choose.randrange(len(self.unconfirmed)))
            self.call(self.status.pipeline.ConfirmPublished, pb.ConfirmPublishedRequest(wake_up=wake_up))

    def work(self) -> None:
        """A worker takes a message, from the front for the most part, and asks what to do."""
        queue = self.queues[self.choose.choice([stage for stage in Stage if stage is not Stage.INSPECT])]
        if not queue:
            return
        queue.rotate(-self.choose.choice([0, 0, 0, 1]))
        wake_up = queue.popleft()
        self.runs += 1
        request = pb.BeginStageRequest(wake_up=wake_up, run_id=f"{self.runs:032x}", worker="w", any_of_stage=True)
        fate = self.choose.random()
        if fate < 0.1:  # it dies before it asks, and the broker gives the message to another
            queue.appendleft(wake_up)
        elif fate < 0.2:  # the answer is lost; then it asks again, or dies too
            self.status.database.answers_to_lose = 1
            with pytest.raises(StatusUnavailable):
                self.call(self.status.pipeline.BeginStage, request)
            if fate < 0.15:
                self.call(self.status.pipeline.BeginStage, request)
            else:
                queue.appendleft(wake_up)
        else:
            told = self.call(self.status.pipeline.BeginStage, request)
            if told.HasField("grant"):
                self.check_turn(told.grant.wake_up)

    def check_turn(self, begun: pb.WakeUp) -> None:
        """No other host waits that had fewer runs at work."""
        stage = STAGES[begun.stage]
        (waits,) = (state for state, its in WAITING.items() if its is stage)
        (works,) = (state for state, its in WORKING.items() if its is stage)
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(datasets.c.dataset_id, datasets.c.host_hash, datasets.c.state).where(
                    datasets.c.deleted_at.is_(None),
                    (datasets.c.state == works) | ((datasets.c.state == waits) & datasets.c.published_at.is_not(None)),
                )
            ).all()
        own = next(row.host_hash for row in rows if row.dataset_id == begun.dataset_id)
        at_work = [row.host_hash for row in rows if row.state is works]
        waiting = {row.host_hash for row in rows if row.state is waits}
        assert all(at_work.count(host) >= at_work.count(own) - 1 for host in waiting)

    def end(self) -> None:
        """A run comes to some end."""
        with self.engine.connect() as connection:
            found = connection.execute(
                select(datasets.c.run_id, datasets.c.state).where(
                    datasets.c.state.in_(list(WORKING)), datasets.c.deleted_at.is_(None)
                )
            ).all()
        if not found:
            return
        run_id, state = self.choose.choice(found)
        assert run_id is not None
        match self.choose.choice(["complete", "complete", "complete", "fail", "release", "die"]):
            case "complete":
                request = pb.CompleteStageRequest(run_id=run_id)
                if state is State.DOWNLOADING:
                    request.ingest.CopyFrom(pb.IngestResult(sha256=f"{self.choose.randrange(4):064x}", bytes=9))
                else:
                    request.tiler.CopyFrom(
                        pb.TilerResult(width=9, height=9, format=pb.TILE_FORMAT_PNG, tile_count=9, bytes=9)
                    )
                told = self.call(self.status.pipeline.CompleteStage, request)
                if told.HasField("next"):
                    self.publish(told.next)
            case "fail":
                code = self.choose.choice(["stalled", "stalled", "source_not_found", "page_not_found"])
                failure = pb.Failure(code=code, message="It failed.", retryable=code == "stalled")
                self.call(self.status.pipeline.FailStage, pb.FailStageRequest(run_id=run_id, failure=failure))
            case "release":
                self.call(self.status.pipeline.ReleaseStage, pb.ReleaseStageRequest(run_id=run_id))
            case "die":
                self.status.do(self.status.housekeeper._expire(run_id, unless_alive=False))

    def order(self) -> None:
        """A user cancels, retries or deletes."""
        with self.engine.connect() as connection:
            found = connection.execute(
                select(datasets.c.dataset_id, datasets.c.state).where(datasets.c.deleted_at.is_(None))
            ).all()
        if not found:
            return
        dataset_id, state = self.choose.choice(found)
        if state in (State.FAILED, State.CANCELLED):
            self.call(self.status.users.RetryDataset, pb.RetryDatasetRequest(dataset_id=dataset_id))
        elif state is not State.READY and self.choose.random() < 0.5:
            self.call(self.status.users.CancelDataset, pb.CancelDatasetRequest(dataset_id=dataset_id))
        else:
            self.call(self.status.users.DeleteDataset, pb.DeleteDatasetRequest(dataset_id=dataset_id))

    def restart(self) -> None:
        """statussvc comes anew, and knows no line."""
        self.status.start()

    def check(self) -> None:
        """There are messages for all rows that wait for one."""
        with self.engine.connect() as connection:
            waiting = dict(
                connection.execute(
                    select(datasets.c.state, func.count())
                    .where(datasets.c.published_at.is_not(None), datasets.c.deleted_at.is_(None))
                    .group_by(datasets.c.state)
                ).all()
            )
            held = select(func.count()).where(datasets.c.held_by.is_not(None), datasets.c.deleted_at.is_(None))
            assert connection.scalar(held.where(datasets.c.published_at.is_not(None))) == 0
            self.held += connection.scalar(held) or 0
        for state, stage in WAITING.items():
            assert len(self.queues[stage]) >= waiting.get(state, 0)

    def unfinished(self) -> int:
        with self.engine.connect() as connection:
            query = select(func.count()).where(datasets.c.state.not_in(list(FINAL)), datasets.c.deleted_at.is_(None))
            return connection.scalar(query) or 0


def walk(engine: Engine, seed: int, steps: int) -> None:
    stack = Stack(engine, Random(seed))  # noqa: S311  # chooses tests
    ways: list[Callable[[], None]] = [
        *[stack.submit, stack.relay, stack.confirm, stack.work, stack.end] * 4,
        *[stack.submit, stack.work, stack.order, stack.restart],
    ]
    try:
        for _ in range(steps):
            stack.choose.choice(ways)()
            stack.status.wall += stack.choose.choice([0.0, 1.0])
            stack.check()
        # What was submitted comes to its end.
        for _ in range(100 * steps):
            if not stack.unfinished():
                break
            stack.choose.choice([stack.relay, stack.confirm, stack.work, stack.end])()
            stack.status.wall += 0.5
            stack.check()
        assert stack.unfinished() == 0
        assert stack.held
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


def test_nothing_waits_without_a_message_on_sqlite(sqlite: Engine) -> None:
    for seed in range(6):
        walk(sqlite, seed, steps=200)


def test_nothing_waits_without_a_message_on_postgres(postgres: Engine) -> None:
    for seed in range(100, 102):
        walk(postgres, seed, steps=80)
