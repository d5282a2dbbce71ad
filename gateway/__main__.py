"""Run the gateway as a process: `python -m gateway`, with settings from TILEWRIGHT_… variables."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop
from pydantic import ValidationError

from gateway.app import create_app
from gateway.background import Janitor, Relay
from gateway.server import PortTaken, Server
from gateway.settings import GatewaySettings
from pipeline import logs
from pipeline.identity import StorageIdentity
from pipeline.machine import keep_what_was_loaded, raise_descriptor_limit
from pipeline.messages import make_broker
from pipeline.status import AsyncStatusClient, StatusClient
from pipeline.storage import DirectoryStorage

logger = logging.getLogger("gateway")


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTaken."""
    broker = make_broker(settings.rabbitmq_url)
    storage = DirectoryStorage(settings.storage)
    pipeline_status = StatusClient(settings.status_address)
    relay = Relay(pipeline_status, broker, queue_check_interval=settings.queue_check_interval)
    identity = StorageIdentity(storage, pipeline_status, adopt=settings.adopt_storage)
    janitor = Janitor(pipeline_status, storage, settings.sweep_interval, identity)
    status = AsyncStatusClient(settings.status_address)
    server = Server(
        create_app(settings, status, storage, relay, janitor, identity=identity),
        settings,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    try:
        port = server.bind()
        relay.start()
        janitor.start()
        keep_what_was_loaded()
        logger.info("listening on http://%s:%d", settings.host, port)
        await server.serve()
    finally:
        await asyncio.gather(asyncio.to_thread(relay.stop), asyncio.to_thread(janitor.stop))
        pipeline_status.close()
        await status.close()
    logger.info("stopped")


def main() -> int:
    """Run the gateway and return the exit code."""
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        for one in error.errors(include_input=False):
            name = "_".join(("TILEWRIGHT", *map(str, one["loc"]))).upper()
            sys.stderr.write(f"{name}: {one['msg']}\n")
        return 2
    logs.configure(settings, "gateway")
    raise_descriptor_limit()
    try:
        uvloop.run(run(settings))
    except PortTaken as error:
        logger.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
