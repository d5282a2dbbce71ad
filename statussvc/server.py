"""The server: both services, reflection, health, and the tasks that expire runs and flush progress."""

from __future__ import annotations

import asyncio
import logging

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pipeline.channels import SERVER_OPTIONS, reachable
from pipeline.errors import StatusUnavailable
from pipeline.status import BEAT_TIMEOUT, AsyncStatusClient
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.core import Core
from statussvc.db import Database, InUse
from statussvc.housekeeper import Housekeeper
from statussvc.leases import Leases
from statussvc.policy import Policy
from statussvc.purger import Purger
from statussvc.rpc import ErrorsToCodes, PipelineService, StatusService
from statussvc.settings import StatusSettings
from statussvc.watch import Hub

TICK = 1.0
"""Seconds between sweeps: progress is flushed in one batch, and runs are expired."""

DAY = 86400.0
"""Seconds."""

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())

logger = logging.getLogger(__name__)


def policy_of(settings: StatusSettings) -> Policy:
    """What the settings say, in seconds."""
    days = settings.keep_sources_days
    return Policy(
        crash_limit=settings.crash_limit,
        retry_limit=settings.retry_limit,
        retry_base=settings.retry_base_seconds,
        retry_cap=settings.retry_cap_seconds,
        keep_sources=None if days is None else days * DAY,
        lost_after=settings.lost_after_seconds,
        publish_lease=settings.publish_lease_seconds,
        slot_rate=settings.slot_rate,
        slot_seconds=settings.slot_seconds,
    )


class PortTaken(OSError):
    """Raised when the address to listen on cannot be had."""


class Server:
    """statussvc on one event loop."""

    def __init__(self, settings: StatusSettings) -> None:
        self._settings = settings
        database = Database(settings.database_url, settings.database_reserve_bytes, settings.search_seconds)
        self._core = Core(
            database=database,
            leases=Leases(settings.lease_seconds),
            hub=Hub(),
            policy=policy_of(settings),
            require_room=database.require_room,
        )
        self._housekeeper = Housekeeper(self._core)
        self._purger = Purger(self._core, settings.purge_days * DAY or None)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._own: AsyncStatusClient
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Migrates, takes up the runs at work, and serves.

        Returns the bound port. Raises StatusUnavailable where the database is away, InUse where another service
        has it, PortTaken where the port is taken.
        """
        await self._core.database.claim()
        await asyncio.to_thread(self._core.database.migrate)
        await self._core.database.fence()
        await self._housekeeper.agree()
        if self._settings.abandon_runs != "no":
            await self._housekeeper.abandon(blame=self._settings.abandon_runs == "expired")
        server = grpc.aio.server(interceptors=[ErrorsToCodes(self._core.database.is_held)], options=SERVER_OPTIONS)
        pb_grpc.add_StatusServiceServicer_to_server(StatusService(self._core), server)
        pb_grpc.add_PipelineServiceServicer_to_server(PipelineService(self._core), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        address = f"{self._settings.grpc_host}:{self._settings.grpc_port}"
        try:
            port: int = server.add_insecure_port(address)
        except RuntimeError:
            raise PortTaken(f"{address} is taken by another program, or not an address of this machine") from None
        await server.start()
        self._server = server
        self._own = AsyncStatusClient(f"{reachable(self._settings.grpc_host)}:{port}")
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        self._tasks = [
            asyncio.create_task(self._tick_for_ever(), name="statussvc-tick"),
            asyncio.create_task(self._purger.run(), name="statussvc-purge"),
        ]
        return port

    async def stop(self, grace: float = 1.0) -> None:
        """Ends: open watches are cut after `grace` seconds, progress is flushed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._own.close()
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)
            try:
                await self._housekeeper.agree()
            except StatusUnavailable as error:
                logger.warning("progress was not flushed: %s", error)
        await asyncio.to_thread(self._core.database.close)

    async def wait(self) -> None:
        """Returns when the server has ended."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def _tick_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + TICK
            await asyncio.sleep(TICK)
            late = clock() - due
            try:
                if await self._core.database.claim():
                    await self._core.database.fence()
                    # Another may have ended what was at work: all that is known of it is what the rows say.
                    self._core.leases.forget()
                    logger.warning("took the database again")
                await self._housekeeper.agree()
                if late < BEAT_TIMEOUT / 2 and await self._hears_beats():
                    await self._housekeeper.expire(longest=2 * TICK)
                else:
                    logger.warning("beats may have gone unheard: no run is expired for now")
                    self._core.leases.look_away()
                await self._housekeeper.share_slots()
                await self._say(health_pb2.HealthCheckResponse.SERVING)
            except (InUse, StatusUnavailable) as error:
                logger.warning("%s; trying again", error)
                self._core.leases.look_away()
                self._core.hub.notify_all()  # watchers find out that nobody can tell them anything
                await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
            except Exception:
                logger.exception("the sweep of runs failed; trying again")
                await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _hears_beats(self) -> bool:
        """Beat as a run of no dataset's, by the way that runs take: whether they could have been heard.

        A service that has too much to do answers nobody in time, and must not take that for the runs' silence.
        """
        try:
            await self._own.pipeline.ReportProgress(pb.ReportProgressRequest(), timeout=BEAT_TIMEOUT)
        except grpc.RpcError:
            return False
        return True

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)
