"""The server: both services, reflection, health, and the tasks that expire runs, flush progress and purge rows."""

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
from statussvc.rpc import ErrorsToCodes, Health, PipelineService, StatusService
from statussvc.settings import StatusSettings
from statussvc.watch import Hub

TICK = 1.0
"""Seconds between sweeps. A sweep flushes all progress in one batch, and expires runs."""

DAY = 86400.0
"""Seconds."""

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())

logger = logging.getLogger(__name__)


def policy_of(settings: StatusSettings) -> Policy:
    """The policy that the settings ask for. Times in seconds."""
    days = settings.keep_sources_days
    return Policy(
        keep_versions=settings.keep_versions,
        version_grace=settings.version_grace_seconds,
        crash_limit=settings.crash_limit,
        retry_limit=settings.retry_limit,
        retry_base=settings.retry_base_seconds,
        retry_cap=settings.retry_cap_seconds,
        retry_after_cap=settings.retry_after_cap_seconds,
        source_fresh=settings.source_fresh_seconds,
        keep_sources=None if days is None else days * DAY,
        lost_after=settings.lost_after_seconds,
        publish_lease=settings.publish_lease_seconds,
        slot_rate=settings.slot_rate,
        slot_seconds=settings.slot_seconds,
    )


class AddressTaken(OSError):
    """Raised when the server cannot listen on its address."""


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
        self._health = Health(("", *SERVICES))
        self._server: grpc.aio.Server | None = None
        self._own: AsyncStatusClient
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Migrate the database, adopt the runs at work, and serve. Returns the bound port.

        Raises
        ------
        StatusUnavailable: the database is unavailable.
        InUse: another service uses the database.
        AddressTaken: the address is in use, or not one of this machine's.
        """
        await self._core.database.claim()
        await asyncio.to_thread(self._core.database.migrate)
        await self._core.database.fence()
        await self._housekeeper.reconcile()
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
            raise AddressTaken(f"{address} is in use by another program, or not an address of this machine") from None
        await server.start()
        self._server = server
        self._own = AsyncStatusClient(f"{reachable(self._settings.grpc_host)}:{port}")
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self._tasks = [
            asyncio.create_task(self._tick_for_ever(), name="statussvc-tick"),
            asyncio.create_task(self._purger.run(), name="statussvc-purge"),
        ]
        return port

    async def stop(self, grace: float = 1.0) -> None:
        """Stop: end open watches after `grace` seconds, and flush progress."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._own.close()
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)
            try:
                await self._housekeeper.reconcile()
            except StatusUnavailable as error:
                logger.warning("progress could not be flushed: %s", error)
        await asyncio.to_thread(self._core.database.close)

    async def wait(self) -> None:
        """Return when the server has ended."""
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
                    # Another service may have ended runs meanwhile: only the rows are right.
                    self._core.leases.forget()
                    logger.warning("claimed the database again")
                await self._housekeeper.reconcile()
                if late < BEAT_TIMEOUT / 2 and await self._receives_heartbeats():
                    await self._housekeeper.expire(longest=2 * TICK)
                else:
                    logger.warning("too busy to receive all heartbeats: no run is expired for now")
                    self._core.leases.ignore_silence()
                await self._housekeeper.share_slots()
                await self._set_health(health_pb2.HealthCheckResponse.SERVING)
            except (InUse, StatusUnavailable) as error:
                logger.warning("%s; trying again", error)
                self._core.leases.ignore_silence()
                self._core.hub.notify_all()  # watchers read again, and learn that the database is unavailable
                await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
            except Exception:
                logger.exception("sweeping the runs failed; trying again")
                await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _receives_heartbeats(self) -> bool:
        """Return whether heartbeats of runs arrive: send this service one, as a run would.

        If this service is too busy to respond in time, missing heartbeats do not show that a run is dead.
        """
        try:
            await self._own.pipeline.ReportProgress(pb.ReportProgressRequest(), timeout=BEAT_TIMEOUT)
        except grpc.RpcError:
            return False
        return True

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)
