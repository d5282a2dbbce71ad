"""The HTTP server: uvicorn, adapted to run beside other work in the same process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn

from gateway.app import Gateway
from gateway.http import SWEEP, LimitedProtocol, Limits, RequestBodies, Unsent
from gateway.http_server_protocol import protocol_for
from gateway.settings import GatewaySettings
from pipeline.errors import TilewrightError
from pipeline.machine import most_connections

BACKLOG = 2048
"""Connections that may wait to be accepted during a burst; uvicorn's own default."""


class PortTaken(TilewrightError):
    """Raised when the gateway cannot listen on its address. The message names the address and says what to do."""


class Server:
    """One gateway on a TCP port.

    Parameters
    ----------
    settings: the address and the limits; port 0 means any free port.
    """

    def __init__(self, app: Gateway, settings: GatewaySettings) -> None:
        self._app = app
        self._host = settings.host
        self._port = settings.port
        self._limits = Limits(
            settings.max_connections or most_connections(),
            settings.head_timeout,
            settings.body_timeout,
            Unsent(settings.max_unsent_bytes),
            RequestBodies(settings.max_bodies_bytes),
        )
        self._socket: socket.socket | None = None
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=protocol_for(app.quick_tiles, self._limits),
                timeout_keep_alive=round(settings.idle_timeout),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # No response depends on the client's address or scheme.
                timeout_graceful_shutdown=settings.stop_timeout,
            )
        )

    def bind(self) -> int:
        """Bind the port, once. Return its number. Raises PortTaken."""
        self._listener()
        return self._port

    @property
    def port(self) -> int:
        """The port's number; after bind() the one that is bound."""
        return self._port

    async def serve(self) -> None:
        """Serve until stop(). Does not touch signal handlers. Raises PortTaken."""
        self._app.context.background.add("connections", self._hold_to_time)
        tending = asyncio.create_task(self._app.context.background.run(), name="background")
        try:
            await self._server.serve(sockets=[self._listener()])
        finally:
            tending.cancel()
            self._app.close()

    async def wait_until_ready(self) -> None:
        """Return once requests are answered. Await it while serve() runs in another task."""
        await self._server.ready.wait()

    def stop(self) -> None:
        """Make serve() return. Open requests have `stop_timeout` to finish. Call this in the event loop's thread."""
        self._app.context.stopping.set()
        self._server.should_exit = True

    async def _hold_to_time(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            connections = cast("set[LimitedProtocol]", self._server.server_state.connections)
            self._limits.sweep(connections, asyncio.get_running_loop().time())

    def _listener(self) -> socket.socket:
        if self._socket is None:
            self._socket = _listen(self._host, self._port)
            self._port = self._socket.getsockname()[1]
        return self._socket


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Otherwise uvicorn would replace the process's signal handlers, and raise caught signals again after serve().
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(f"{host} is not an address of this machine ({error.strerror or error}).") from error
    try:
        # Otherwise bind fails for a minute after a restart, while old connections are in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Port {port} on {host} is not available ({error.strerror}). "
            "Stop the program that uses it, or choose another port (0 for any free one)."
        ) from error
    return listener
