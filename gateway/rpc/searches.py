"""Search the catalogue. A search may take long, so few run at once, in a queue of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gateway.http import Interrupt, interruptible
from gateway.rpc.calls import ask
from gateway.rpc.gate import REFUSED_AFTER, Gate, GatedRpcs
from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from protos.tilewright.status.v1.status_pb2_grpc import StatusServiceAsyncStub

AT_ONCE = 4
"""Rpcs in flight: statussvc runs two searches at a time, and the next two wait there."""

QUEUE = 16
"""Searches that wait for their turn."""


class Searches:
    """Sends searches to statussvc, few at a time. For use in one event loop."""

    def __init__(self, stub: StatusServiceAsyncStub) -> None:
        self._rpc = cast("StatusServiceAsyncStub", GatedRpcs(stub, Gate(AT_ONCE, QUEUE)))

    async def find(self, wanted: pb.ListDatasetsRequest, gone: Interrupt) -> pb.ListDatasetsResponse | None:
        """Return a page of results. If `gone` returns first, cancel the search and return None.

        Raises Busy, after a second, and what the rpc raises.
        """
        return await interruptible(self._search(wanted), gone)

    async def _search(self, wanted: pb.ListDatasetsRequest) -> pb.ListDatasetsResponse:
        try:
            return await ask(self._rpc.ListDatasets, wanted)
        except StatusUnavailable:
            # A client that is refused at once would ask again at once.
            await asyncio.sleep(REFUSED_AFTER)
            raise
