"""The embedded stack: the whole system in one process, with nothing else installed.

    statussvc   grpc.aio, on SQLite in the data directory   ┐
    gateway     uvicorn; threads for relay and janitor      ┘ one event loop, in the main thread
    ingest      4 threads ┐
    inspect     2 threads ├ one Dramatiq worker per queue, on queues in memory
    tiler       1 thread  ┘

The code is that of the farm; only the settings differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

import ingest.actor
import ingest.inspection
import tiler.actor
from gateway import server as gateway_server
from gateway.app import create_app
from gateway.background import Janitor, Relay
from gateway.rpc import ask
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from pipeline.channels import bracketed, reachable
from pipeline.errors import StatusUnavailable, StorageError, TilewrightError
from pipeline.file_lock import this_boot
from pipeline.identity import StorageIdentity
from pipeline.logs import configure
from pipeline.machine import keep_what_was_loaded, raise_descriptor_limit
from pipeline.messages import Queue, publish, stop_signal
from pipeline.sandbox import confine as sandbox
from pipeline.sources import Allowed
from pipeline.status import AsyncStatusClient, StatusClient
from pipeline.storage import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc import server as status_server
from statussvc.db import InUse
from statussvc.settings import StatusSettings
from tiler import readable_formats
from tiler.settings import TilerSettings
from tilewright.embedded.broker import EmbeddedBroker, Workers
from tilewright.embedded.lock import exclusive
from tilewright.output import print_line

THREADS: dict[str, int] = {
    Queue.INGEST: 4,  # downloads mostly wait for the network, so several can share a core
    Queue.TILER: 1,  # one tiling uses all cores
    Queue.INSPECT: 2,  # somebody waits for each, and a slow server must not delay the next one
}
"""Jobs of each queue that run at once."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread gives up the interpreter (sys.setswitchinterval). A POST changes threads several
times, and each change may wait that long while a download keeps a thread busy. Python's default, 5 ms, would add up."""

WORKERS_PATIENCE = 5.0
"""Seconds for running stages to be given back. A heartbeat and an rpc take one, and stopping may take ten in all."""

CTRL_C = 130
"""The exit code that shells expect after Ctrl-C."""

GRPC_GRACE = 0.5
"""Seconds for open rpcs to end. By then only watches are left."""

QUIET = {
    # These log several lines for each start and stop.
    "alembic": logging.WARNING,
    "dramatiq": logging.WARNING,
    # Warns about several workers in one process. They are intended: each has its own queue.
    "dramatiq.broker.EmbeddedBroker": logging.ERROR,
}
"""Loggers of other packages, and the lowest level to log from them."""

logger = logging.getLogger(__name__)


class CannotStart(TilewrightError):
    """Raised when the stack cannot be started as requested. The message says what to do."""


class WrongOption(TilewrightError):
    """Raised when an option or an environment variable is invalid."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of `tilewright up`. A port of 0 picks a free one.

    Parameters
    ----------
    allow_sources: private sources to allow, besides those of TILEWRIGHT_ALLOW_SOURCES.
    adopt_storage: whether to use the storage although the database knows another.
    """

    host: str
    port: int
    grpc_port: int
    data: Path
    allow_sources: tuple[str, ...] = ()
    adopt_storage: bool = False


@dataclass(frozen=True, slots=True)
class StackSettings:
    """The settings of each service: from the environment, except for those that the options or the stack itself set."""

    status: StatusSettings
    gateway: GatewaySettings
    ingest: IngestSettings
    tiler: TilerSettings

    @classmethod
    def of(cls, options: UpOptions, *, blame: bool = True) -> StackSettings:
        """Return the settings for these options.

        Parameters
        ----------
        blame: whether runs that the last stack left unfinished count as crashed.

        Raises
        ------
        WrongOption: if an option or an environment variable is invalid.
        """
        storage = options.data / "storage"
        try:
            named = IngestSettings().allow_sources
            allowed = (*named, *(entry for entry in options.allow_sources if entry not in named))
            Allowed(allowed)
            tiler = TilerSettings(storage=storage)
            # Both run on one machine: ingest need not download what the tiler has no memory for.
            memory = tiler.memory_limit
            gateway = GatewaySettings(host=options.host, port=options.port, storage=storage, allow_sources=allowed)
            if options.adopt_storage:
                gateway = gateway.model_copy(update={"adopt_storage": True})
            return cls(
                StatusSettings(
                    database_url=f"sqlite:///{options.data.resolve() / 'tilewright.sqlite3'}",
                    grpc_host=bracketed(options.host),
                    grpc_port=options.grpc_port,
                    abandon_runs="expired" if blame else "released",
                ),
                gateway,
                IngestSettings(storage=storage, allow_sources=allowed, decode_memory_bytes=memory),
                tiler,
            )
        except ValueError as error:
            raise WrongOption(str(error)) from error


@dataclass(frozen=True, slots=True)
class Running:
    """A running stack: its addresses, and the task that ends when the gateway stops."""

    url: str
    grpc_address: str
    serving: asyncio.Task[None]


def run(options: UpOptions) -> int:
    """Run the stack until SIGINT, SIGTERM, or SIGHUP (the terminal was closed), and return the exit code.

    Raises
    ------
    CannotStart, WrongOption, and the errors of tilewright.embedded.lock.exclusive.
    """
    configure(StackSettings.of(options).gateway, "tilewright")
    raise_descriptor_limit()
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with exclusive(options.data) as last:
        # A job may have killed the stack, but hardly the machine: after a reboot, no run counts as crashed.
        settings = StackSettings.of(options, blame=last.boot == this_boot())
        return uvloop.run(_run_until_stopped(options, settings))


async def _run_until_stopped(options: UpOptions, settings: StackSettings) -> int:
    stopped_by: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Keep ignored signals ignored: nohup lets the stack outlive its terminal.
        if signal.getsignal(sign) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(sign, _note_signal, stopped_by, sign)
    async with running(options, settings) as stack:
        keep_what_was_loaded()
        if not stopped_by.done():
            print_line(f"ready {stack.url} grpc://{stack.grpc_address}")
        ends: tuple[asyncio.Future[Any], ...] = (stopped_by, stack.serving)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not stopped_by.done():
            stack.serving.result()
            raise CannotStart("The gateway stopped unexpectedly. Its log says why.")
        logger.info("stopping; unfinished work continues at the next start")
    return CTRL_C if stopped_by.result() == signal.SIGINT else 0


def _note_signal(stopped_by: asyncio.Future[int], number: int) -> None:
    if stopped_by.done():
        # The second signal: everything that matters is on the disk, so exit at once.
        os._exit(CTRL_C)
    stopped_by.set_result(number)


@asynccontextmanager
async def running(options: UpOptions, settings: StackSettings) -> AsyncIterator[Running]:
    """Start the stack, yield it when it is ready, and stop it after the block. The caller locks the data directory.

    Raises
    ------
    CannotStart
    """
    storage = DirectoryStorage(settings.gateway.storage)
    status = status_server.Server(settings.status)
    try:
        try:
            grpc_port = await status.start()
        except (InUse, StatusUnavailable) as error:
            raise CannotStart(str(error)) from error
        except status_server.AddressTaken as error:
            raise CannotStart(
                f"{error}. Stop that program, or give another port with --grpc-port (0 picks a free one)."
            ) from error
        async with _around(settings, storage, f"{reachable(options.host)}:{grpc_port}") as (port, serving):
            host = bracketed(options.host)
            yield Running(f"http://{host}:{port}", f"{host}:{grpc_port}", serving)
    finally:
        await status.stop(GRPC_GRACE)


@asynccontextmanager
async def _around(
    settings: StackSettings, storage: DirectoryStorage, status_address: str
) -> AsyncIterator[tuple[int, asyncio.Task[None]]]:
    """Start everything except statussvc, yield the gateway's port and its task, and stop it after the block."""
    layers = await asyncio.to_thread(sandbox.probe)
    sandbox.announce(logger, layers)
    await asyncio.to_thread(readable_formats.announce, logger)
    broker = EmbeddedBroker()
    pipeline_status = StatusClient(status_address)
    gateway_status = AsyncStatusClient(status_address)
    identity = StorageIdentity(storage, pipeline_status, adopt=settings.gateway.adopt_storage)
    relay = Relay(pipeline_status, broker, queue_check_interval=settings.gateway.queue_check_interval)
    janitor = Janitor(pipeline_status, storage, settings.gateway.sweep_interval, identity)
    gateway = gateway_server.Server(
        create_app(settings.gateway, gateway_status, storage, relay, janitor, sandbox.by_name(layers), identity),
        settings.gateway,
    )
    stopping = stop_signal(broker)
    send = partial(publish, broker)
    ingest.actor.declare(broker, settings.ingest, pipeline_status, storage, stopping, publish=send, identity=identity)
    ingest.inspection.declare(broker, settings.ingest, pipeline_status, storage, stopping, identity)
    tiler.actor.declare(broker, settings.tiler, pipeline_status, storage, stopping, identity)
    workers = Workers(broker, THREADS)
    try:
        port = gateway.bind()
    except gateway_server.PortTaken as error:
        raise CannotStart(f"{error} The option is --port.") from error
    workers.start()
    relay.start()
    janitor.start()
    serving = asyncio.create_task(gateway.serve(), name="gateway")
    try:
        ready = asyncio.ensure_future(gateway.wait_until_ready())
        await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED)
        await _require_rpcs(gateway_status, status_address)
        await _identify(identity)
        yield port, serving
    finally:
        gateway.stop()
        # Both at once: running stages still need statussvc, which stops later, but not the gateway.
        await asyncio.gather(asyncio.to_thread(workers.stop, WORKERS_PATIENCE), serving, return_exceptions=True)
        await asyncio.gather(asyncio.to_thread(relay.stop), asyncio.to_thread(janitor.stop))
        pipeline_status.close()
        await gateway_status.close()


async def _require_rpcs(status: AsyncStatusClient, address: str) -> None:
    """Raise CannotStart unless statussvc answers an rpc that is made in the way the gateway makes its own."""
    try:
        await ask(status.status.ListDatasets, pb.ListDatasetsRequest(page_size=1))
    except StatusUnavailable as error:
        raise CannotStart(
            f"The stack cannot reach its own status service at {address} ({error}). "
            "Check for a firewall or a proxy in between."
        ) from error


async def _identify(identity: StorageIdentity) -> None:
    """Raise CannotStart if the storage is not the one that the database knows."""
    try:
        await asyncio.to_thread(identity.require)
    except StorageError as error:
        raise CannotStart(str(error)) from error
