"""Any number of pollers: few rpcs, no stale answers, and a crowd is asked to come less often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.api import polls as polls_module
from gateway.api.contract import Links
from gateway.api.polls import Polls
from gateway.rpc.gate import Busy, Gate, RefuseCrowd
from gateway.rpc.pacing import Pacing
from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb

DATASET, OTHER = "custom_00000001", "custom_00000002"


class Statuses:
    """Answers rpcs when the test says so, each with the revision as of its beginning."""

    def __init__(self) -> None:
        self.revision = 1
        self.asked: list[str] = []
        self.begun = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()
        self.error: Exception | None = None

    async def ask(self, dataset_id: str) -> pb.DatasetStatus:
        self.asked.append(dataset_id)
        self.begun.set()
        row = pb.DatasetStatus(dataset_id=dataset_id, state=pb.STATE_DOWNLOADING, revision=self.revision)
        await self.held.wait()
        if self.error:
            raise self.error
        return row


def run(story: Callable[[Statuses, Polls], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        statuses = Statuses()
        await story(statuses, Polls(statuses.ask, Links()))

    asyncio.run(told())


def test_pollers_of_a_dataset_share_an_rpc_and_get_the_same_answer() -> None:
    async def story(statuses: Statuses, polls: Polls) -> None:
        # When a hundred ask at once
        answers = await asyncio.gather(*(polls.status(DATASET) for _ in range(100)))
        # Then one rpc was made, and each is told the same
        assert statuses.asked == [DATASET]
        assert {answer.etag for answer in answers} == {'W/"1"'}

    run(story)


def test_nobody_is_told_a_status_older_than_the_question() -> None:
    async def story(statuses: Statuses, polls: Polls) -> None:
        # Given an rpc under way
        statuses.held.clear()
        early = asyncio.create_task(polls.status(DATASET))
        await statuses.begun.wait()
        # When the dataset changes, and then others ask
        statuses.revision = 2
        late = [asyncio.create_task(polls.status(DATASET)) for _ in range(10)]
        await asyncio.sleep(0)
        statuses.held.set()
        # Then they hear of the change, by one more rpc
        assert {answer.etag for answer in await asyncio.gather(*late)} == {'W/"2"'}
        assert (await early).etag == 'W/"1"'
        assert statuses.asked == [DATASET, DATASET]

    run(story)


def test_a_poller_that_leaves_takes_nothing_from_the_others() -> None:
    async def story(statuses: Statuses, polls: Polls) -> None:
        statuses.held.clear()
        leaving, staying = (asyncio.create_task(polls.status(DATASET)) for _ in range(2))
        await statuses.begun.wait()
        leaving.cancel()
        statuses.held.set()
        assert (await staying).etag == 'W/"1"'

    run(story)


def test_each_poller_hears_why_there_is_no_status_and_the_next_asks_anew() -> None:
    async def story(statuses: Statuses, polls: Polls) -> None:
        statuses.error = StatusUnavailable("away")
        for outcome in await asyncio.gather(*(polls.status(DATASET) for _ in range(3)), return_exceptions=True):
            assert isinstance(outcome, StatusUnavailable)
        statuses.error = None
        assert (await polls.status(DATASET)).etag == 'W/"1"'

    run(story)


def test_who_would_wait_too_long_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given rpcs that each take a second of the pace, and a patience of one
    monkeypatch.setattr(polls_module, "RPC_COST", 1.0)
    monkeypatch.setattr(polls_module, "BURST", 0.0)
    monkeypatch.setattr(polls_module, "LONGEST_WAIT", 1.0)

    async def story(statuses: Statuses, polls: Polls) -> None:
        statuses.held.clear()
        asking = [asyncio.create_task(polls.status(f"custom_{number:08x}")) for number in range(2)]
        await asyncio.sleep(0)
        # When more datasets are asked for than can be told in that time, Then the rest is refused
        with pytest.raises(Busy):
            await polls.status(OTHER)
        for task in asking:
            task.cancel()

    run(story)


def test_turns_go_ahead_of_the_clock_by_the_burst_and_no_further() -> None:
    now = [100.0]
    pacing = Pacing(1.0, lambda: now[0])
    # Given turns that cost half a second, When five are taken at once
    waits = [pacing.take(0.5) for _ in range(5)]
    # Then the burst goes first, and the rest one after the other
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0]
    # And after a quiet time all is as at first
    now[0] += 60.0
    assert [pacing.take(0.5) for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("pollers", "seconds"), [(1, 1), (700, 1), (3000, 4), (100_000, 15)])
def test_the_hint_settles_at_what_keeps_a_crowd_within_bounds(
    pollers: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    hint = polls_module._Hint()
    # When so many come as often as they are told, for a minute
    for _ in range(600):
        now[0] += 0.1
        for _ in range(round(pollers * 0.1 / hint.seconds) or 1):
            hint.count()
    # Then they are told this
    assert hint.seconds == seconds


def test_more_rpcs_than_the_gate_takes_are_refused_and_room_is_found_again() -> None:
    async def story() -> None:
        gate, over = Gate(at_once=1, queue=1, patience=60.0), asyncio.Event()

        async def rpc() -> None:
            async with gate.turn():
                await over.wait()

        # Given one rpc under way, and one that waits
        under_way = [asyncio.create_task(rpc()) for _ in range(2)]
        await asyncio.sleep(0)
        assert gate.is_full()
        # When another comes, Then it is refused
        with pytest.raises(Busy):
            await rpc()
        # And once the others have ended there is room
        over.set()
        await asyncio.gather(*under_way)
        assert not gate.is_full()
        await rpc()

    asyncio.run(story())


def test_who_waits_in_vain_at_the_gate_is_refused_and_leaves_no_place_taken() -> None:
    async def story() -> None:
        gate, over = Gate(at_once=1, queue=5, patience=0.01), asyncio.Event()

        async def rpc() -> None:
            async with gate.turn():
                await over.wait()

        under_way = asyncio.create_task(rpc())
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await rpc()
        over.set()
        await under_way
        await rpc()

    asyncio.run(story())


def test_only_the_api_is_refused_to_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.rpc.gate.REFUSED_AFTER", 0.0)
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def story() -> None:
        gate = Gate(at_once=1, queue=0)
        asked = RefuseCrowd(app, gate)
        for path in ("/healthz", "/readyz", "/tiles/a.dzi"):
            await asked({"path": path}, None, None)  # type: ignore[arg-type]
        with pytest.raises(Busy):
            await asked({"path": "/api/datasets"}, None, None)  # type: ignore[arg-type]

    asyncio.run(story())
    assert reached == ["/healthz", "/readyz", "/tiles/a.dzi"]
