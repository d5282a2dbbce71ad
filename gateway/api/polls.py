"""Statuses for any number of pollers: those who ask at once for the same dataset share one rpc.

Nobody is given a status older than the question: who comes while an rpc is under way waits for the next one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.api import contract
from gateway.api.contract import Links
from gateway.rpc.gate import Busy
from gateway.rpc.pacing import Pacing
from pipeline.status import FINAL
from protos.tilewright.status.v1 import status_pb2 as pb

RPC_COST = 1 / 250
"""Seconds of the pace that an rpc takes: as many a second, for all datasets together, are asked for at most."""

ANSWER_COST = 1 / 2500
"""Seconds that each answer takes: half of what one core gives, so that the other half is left for all else."""

BURST = 0.5
"""Seconds of the pace that may be taken at once: an ordinary number of pollers never waits."""

LONGEST_WAIT = 5.0
"""Seconds after which an answer would come too late: it is refused at once."""

POLL_AFTER = 1
"""Seconds, the hint to polling clients: progress arrives twice a second."""

POLL_AFTER_MOST = 15
"""Seconds, the hint to a crowd."""

ANSWERS = 750
"""A second, up to which pollers are not asked to come less often."""

SPAN = 5.0
"""Seconds over which answers are counted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, as each of its pollers is told it.

    Parameters
    ----------
    body: the contract's JSON.
    final: whether it changes no more by itself.
    """

    etag: str
    body: bytes
    final: bool


class _Batch:
    """The pollers of one dataset that wait for the same rpc."""

    def __init__(self) -> None:
        self.pollers = 0
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Polls:
    """Answers polls. For one event loop.

    Parameters
    ----------
    ask: gives a dataset's status; raises what the pollers are to hear.
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
        """Seconds after which a poller is to come again: the more of them, the later."""
        return self._hint.seconds

    async def status(self, dataset_id: str) -> Answer:
        """Give the status as of now or later. Raises Busy, and what `ask` raises."""
        batch = self._batches.get(dataset_id)
        if batch is None:
            if self._pacing.wait() > LONGEST_WAIT:
                raise Busy("More statuses are asked for than can be told.")
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
        # From here on a change may be missed: who comes now waits for another rpc.
        del self._batches[dataset_id]
        self._pacing.take(batch.pollers * ANSWER_COST)
        try:
            row = await self._ask(dataset_id)
            now = time.time()
            body = contract.status(row, self._links, now).model_dump_json(exclude_unset=True).encode()
            answer = Answer(contract.etag(row, now), body, row.state in FINAL)
        except Exception as error:  # noqa: BLE001  # each poller is told
            batch.answer.set_exception(error)
            batch.answer.exception()  # all of them may have left
        else:
            batch.answer.set_result(answer)


class _Hint:
    """Asks a crowd to come less often: it reckons how many pollers there are by how often they come when told how."""

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
