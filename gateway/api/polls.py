"""Respond to status polls. Requests for the same dataset that arrive together share one rpc.

No response is older than its request: a request that arrives while an rpc is in flight waits for the next rpc.
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

RESPONSE_COST = 1 / 2500
"""Seconds of pacing for each response. This is half of what one core can do: the rest is left for other requests."""

BURST = 0.5
"""Seconds of pacing that may be used at once, so that an ordinary number of pollers never waits."""

LONGEST_WAIT = 5.0
"""Seconds. A poll that would wait longer is refused at once, because its response would come too late."""

POLL_AFTER = 1
"""Seconds in Retry-After for polling clients: workers report progress twice a second."""

POLL_AFTER_MOST = 15
"""Seconds in Retry-After when very many clients poll."""

RESPONSES_PER_SECOND = 750
"""Responses a second; above this rate clients are asked to poll less often."""

SPAN = 5.0
"""Seconds over which the rate of responses is measured."""


@dataclass(frozen=True, slots=True)
class StatusResponse:
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
        self.response: asyncio.Future[StatusResponse] = asyncio.get_running_loop().create_future()


class Polls:
    """Responds to polls. For use in one event loop.

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

    async def status(self, dataset_id: str) -> StatusResponse:
        """Return a status that is not older than this call. Raises Busy, and what `ask` raises."""
        batch = self._batches.get(dataset_id)
        if batch is None:
            if self._pacing.wait() > LONGEST_WAIT:
                raise Busy("Too many status requests.")
            batch = self._batches[dataset_id] = _Batch()
            task = asyncio.create_task(self._respond(dataset_id, batch, self._pacing.take(RPC_COST)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        batch.pollers += 1
        self._hint.count()
        return await asyncio.shield(batch.response)

    async def _respond(self, dataset_id: str, batch: _Batch, wait: float) -> None:
        if wait:
            await asyncio.sleep(wait)
        # The rpc's response may miss a change from here on, so later requests need another rpc.
        del self._batches[dataset_id]
        self._pacing.take(batch.pollers * RESPONSE_COST)
        try:
            row = await self._ask(dataset_id)
            now = time.time()
            body = contract.status(row, self._links, now).model_dump_json(exclude_unset=True).encode()
            is_final = row.state in FINAL and not row.refresh.HasField("status")
            response = StatusResponse(contract.etag(row, now), body, is_final)
        except Exception as error:  # noqa: BLE001  # raised in each request that waits
            batch.response.set_exception(error)
            batch.response.exception()  # Marks it as retrieved: every client may have disconnected.
        else:
            batch.response.set_result(response)


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
            self.seconds = min(POLL_AFTER_MOST, max(POLL_AFTER, math.ceil(pollers / RESPONSES_PER_SECOND)))
            self._since, self._count = time.monotonic(), 0
