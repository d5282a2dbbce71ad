"""The HTTP server: uvicorn, made to live in a process that has more to do than serving HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn

from gateway.app import Gateway
from gateway.http.limits import SWEEP, LimitedProtocol, Limits
from gateway.http_protocol import protocol_for
from gateway.settings import GatewaySettings
from pipeline.errors import TilewrightError
from pipeline.machine import most_connections

BACKLOG = 2048
"""Connections that may wait to be taken while a burst of clients comes: uvicorn's own default."""


class PortTaken(TilewrightError):
    """Raised when the address to listen on cannot be had; its message names it and says what to do."""


class Server:
    """One gateway on a TCP port.

    Parameters
    ----------
    settings: where to listen (port 0 takes a free one), and what clients may cost.
    """

    def __init__(self, app: Gateway, settings: GatewaySettings) -> None:
        self._app = app
        self._host = settings.host
        self._port = settings.port
        self._limits = Limits(
            settings.max_connections or most_connections(),
            settings.head_timeout,
            settings.body_timeout,
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
                proxy_headers=False,  # No answer depends on who asks or how: links are root-relative.
                timeout_graceful_shutdown=settings.stop_timeout,
            )
        )

    def bind(self) -> int:
        """Take the port, once. Returns its number. Raises PortTaken."""
        self._listener()
        return self._port

    @property
    def port(self) -> int:
        """The number of the port: after bind() the one that is bound."""
        return self._port

    async def serve(self) -> None:
        """Serve until stop(). Leaves signals alone. Raises PortTaken."""
        self._app.context.background.add("connections", self._hold_to_time)
        tending = asyncio.create_task(self._app.context.background.run(), name="background")
        try:
            await self._server.serve(sockets=[self._listener()])
        finally:
            tending.cancel()
            self._app.close()

    async def wait_until_ready(self) -> None:
        """Return when requests are answered. Meant to be awaited beside serve() in a task."""
        await self._server.ready.wait()

    def stop(self) -> None:
        """End serve(): open requests are finished, as far as `stop_timeout` allows. From the loop's thread."""
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
        # uvicorn would take over the process's signals, and raise what it caught anew after serve().
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
        # Else a port stays refused for a minute after a restart, while old connections linger in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Port {port} on {host} cannot be had ({error.strerror}). "
            "Stop the program that uses it, or choose another port (0 takes a free one)."
        ) from error
    return listener
