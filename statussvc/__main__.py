"""`python -m statussvc`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from pipeline.errors import StatusUnavailable
from pipeline.logs import configure
from pipeline.machine import keep_what_was_loaded, raise_descriptor_limit
from statussvc.db import InUse
from statussvc.server import AddressTaken, Server
from statussvc.settings import StatusSettings

START_PATIENCE = 60.0
"""Seconds to wait for the database at the start: a new PostgreSQL takes a while to create its files, and another
service that uses the database may be about to end."""

logger = logging.getLogger("statussvc")


async def serve(settings: StatusSettings) -> int:
    """Serve until a signal says stop. Returns the exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(settings)
    port = await _start(server, stop)
    if port is None:
        return 1
    keep_what_was_loaded()
    logger.info("listening on %s:%d", settings.grpc_host, port)
    await stop.wait()
    await server.stop()
    return 0


async def _start(server: Server, stop: asyncio.Event) -> int | None:
    deadline = asyncio.get_running_loop().time() + START_PATIENCE
    while True:
        try:
            return await server.start()
        except AddressTaken as error:
            logger.error("%s", error)  # noqa: TRY400  # a sentence for the operator, without a traceback
            return None
        except (InUse, StatusUnavailable) as error:
            if asyncio.get_running_loop().time() > deadline:
                logger.error("%s", error)  # noqa: TRY400  # the same
                return None
            logger.warning("%s; trying again", error)
        try:
            await asyncio.wait_for(stop.wait(), 1.0)
            return None
        except TimeoutError:
            continue


if __name__ == "__main__":
    settings = StatusSettings()
    configure(settings, "statussvc")
    raise_descriptor_limit()
    sys.exit(asyncio.run(serve(settings)))
