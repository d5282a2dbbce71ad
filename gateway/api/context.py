"""The objects that the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from gateway.api.contract import Links
from gateway.api.polls import Polls
from gateway.background import Background
from gateway.rpc import Gate, GatedRpcs, Searches, ask
from gateway.settings import GatewaySettings
from gateway.storage import StorageThreads, StorageWatch
from pipeline.identity import Identified
from pipeline.sources import Allowed
from pipeline.status import AsyncStatusClient
from pipeline.storage import Storage
from protos.tilewright.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from protos.tilewright.status.v1.status_pb2_grpc import StatusServiceAsyncStub


class Publisher(Protocol):
    """The part of the relay that the routes use."""

    def poke(self) -> None:
        """Tell the relay that there is something to publish. Returns at once. Thread-safe."""

    def state(self) -> str:
        """Return "ok", or why wake-ups cannot be published at the moment."""


class Sweeper(Protocol):
    """The part of the janitor that the routes use."""

    def suspect(self, tile_id: str) -> None:
        """Report that a pyramid's files could not be opened. Returns at once. Thread-safe."""

    def poke(self) -> None:
        """Tell the janitor that there may be something to remove. Returns at once. Thread-safe."""

    def state(self) -> str:
        """Return "ok", or why the last sweep was incomplete."""


@dataclass
class Context:
    """The objects of one gateway.

    Parameters
    ----------
    sandbox: for each layer of the decoders' sandbox, "ok" or what is missing; None if this process runs no tiler.
    identity: checks that the storage belongs to the database; None to skip this check.
    warnings: what is configured wrongly, as requests have shown, by kind.
    regions: returns what was done to make regions of pyramids.
    stopping: set when the gateway stops; every request that waits then returns.
    """

    settings: GatewaySettings
    status: AsyncStatusClient
    storage: Storage
    relay: Publisher
    janitor: Sweeper
    sandbox: Mapping[str, str] | None = None
    identity: Identified | None = None
    storage_threads: StorageThreads = field(default_factory=StorageThreads)
    background: Background = field(default_factory=Background)
    warnings: dict[str, str] = field(default_factory=dict)
    regions: Callable[[], dict[str, float]] = dict
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate = Gate()
        self.rpc = cast("StatusServiceAsyncStub", GatedRpcs(self.status.status, self.gate))
        self.searches = Searches(self.status.status)
        self.links = Links(self.settings.public_url)
        self.polls = Polls(self._status_of, self.links)
        self.storage_watch = StorageWatch(self.storage, self.settings.disk_reserve_bytes, self.identity)
        self.allowed = Allowed(self.settings.allow_sources)

    async def _status_of(self, dataset_id: str) -> pb.DatasetStatus:
        # Bypasses the gate: `Polls` paces its own rpcs.
        response = await ask(self.status.status.GetStatus, pb.GetStatusRequest(dataset_id=dataset_id))
        return response.status
