"""Answer status polls. Requests for the same dataset that arrive together share one rpc.

No answer is older than its request: a request that arrives while an rpc is in flight waits for the next rpc.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.api import contract
from gateway.api.contract import Links
from gateway.rpc import Busy, Pacing
from pipeline.status import FINAL
from protos.tilewright.status.v1 import status_pb2 as pb

RPC_COST = 1 / 250
"""Seconds of pacing for an rpc: at most 250 rpcs a second, for all datasets together."""

ANSWER_COST = 1 / 2500
"""Seconds of pacing for each answer. This is half of what one core can do: the rest is left for other requests."""

BURST = 0.5
"""Seconds of pacing that may be used at once, so that an ordinary number of pollers never waits."""

LONGEST_WAIT = 5.0
"""Seconds. A poll that would wait longer is refused at once, because its answer would come too late."""

POLL_AFTER = 1
"""Seconds in Retry-After for polling clients: workers report progress twice a second."""

POLL_AFTER_MOST = 15
"""Seconds in Retry-After when very many clients poll."""

ANSWERS = 750
"""Answers a second; above this rate clients are asked to poll less often."""

SPAN = 5.0
"""Seconds over which the rate of answers is measured."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, shared by all requests that wait for it.

    Parameters
    ----------
    body: the JSON of the REST API.
    final: whether the status can only change on request, such as by a retry.
    """

    etag: str
    body: bytes
    final: bool


class _Batch:
    """Requests for one dataset that wait for the same rpc."""

    def __init__(self) -> None:
        self.pollers = 0
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Polls:
    """Answers polls. For use in one event loop.

    Parameters
    ----------
    ask: returns a dataset's status; what it raises is passed on to each request.
    """

    def __init__(self, ask: Callable[[str], Awaitable[pb.DatasetStatus]], links: Links) -> None:
        self._ask = ask
        self._links = links
        self._pacing = Pacing(BURST, time.monotonic)
        self._batches: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hint = _Hint()

    @property
    def poll_after(self) -> int:
        """Seconds until a client should poll again; grows with the number of clients."""
        return self._hint.seconds

    async def status(self, dataset_id: str) -> Answer:
        """Return a status that is not older than this call. Raises Busy, and what `ask` raises."""
        batch = self._batches.get(dataset_id)
        if batch is None:
            if self._pacing.wait() > LONGEST_WAIT:
                raise Busy("Too many status requests.")
            batch = self._batches[dataset_id] = _Batch()
            task = asyncio.create_task(self._answer(dataset_id, batch, self._pacing.take(RPC_COST)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        batch.pollers += 1
        self._hint.count()
        return await asyncio.shield(batch.answer)

    async def _answer(self, dataset_id: str, batch: _Batch, wait: float) -> None:
        if wait:
            await asyncio.sleep(wait)
        # The rpc's answer may miss a change from here on, so later requests need another rpc.
        del self._batches[dataset_id]
        self._pacing.take(batch.pollers * ANSWER_COST)
        try:
            row = await self._ask(dataset_id)
            now = time.time()
            body = contract.status(row, self._links, now).model_dump_json(exclude_unset=True).encode()
            answer = Answer(contract.etag(row, now), body, row.state in FINAL)
        except Exception as error:  # noqa: BLE001  # raised in each request that waits
            batch.answer.set_exception(error)
            batch.answer.exception()  # Marks it as retrieved: every client may have disconnected.
        else:
            batch.answer.set_result(answer)


class _Hint:
    """Asks clients to poll less often when there are many. Estimates their number from their rate and the last hint."""

    def __init__(self) -> None:
        self.seconds = POLL_AFTER
        self._since = time.monotonic()
        self._count = 0

    def count(self) -> None:
        self._count += 1
        elapsed = time.monotonic() - self._since
        if elapsed >= SPAN:
            pollers = self._count / elapsed * self.seconds
            self.seconds = min(POLL_AFTER_MOST, max(POLL_AFTER, math.ceil(pollers / ANSWERS)))
            self._since, self._count = time.monotonic(), 0
