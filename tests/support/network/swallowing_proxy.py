"""A TCP proxy that can swallow what comes, as a network does whose other end has vanished: nothing is closed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SwallowingProxy:
    """Set `swallowing`, and every byte is taken and goes nowhere, on old connections and on new ones."""

    def __init__(self, host: str, port: int) -> None:
        self.swallowing = threading.Event()
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True, name="swallowing-proxy").start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._ends += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        swallowed = False
        with suppress(OSError):
            while data := source.recv(65536):
                swallowed = swallowed or self.swallowing.is_set()
                if not swallowed:
                    sink.sendall(data)
            if not swallowed:
                sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._ends):
            end.close()


@contextmanager
def swallowing_proxy(address: str) -> Iterator[SwallowingProxy]:
    """One before HOST:PORT."""
    host, _, port = address.rpartition(":")
    proxy = SwallowingProxy(host, int(port))
    try:
        yield proxy
    finally:
        proxy.close()
