"""The wire of one fetch: what it is connected by, and the one way to cut it from another thread.

`requests` limits each read but no whole exchange, and nothing in it stops slow headers. Shutting the socket down
does: a read that blocks in any phase (connect, TLS, headers, body) returns at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


class Wire:
    """Holds a fetch's sockets until they are released. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self._waiting: set[threading.Event] = set()
        self._reason: Exception | None = None

    def hold(self, connection: socket.socket) -> None:
        """Takes a hold on a socket, which may be about to connect."""
        # A duplicate, since wrapping the socket in TLS takes its descriptor away.
        duplicate = connection.dup()
        with self._lock:
            self._held.append(duplicate)
            if self._reason is not None:
                _shut_down(duplicate)

    def release(self) -> None:
        """Ends all connections and lets go of them."""
        with self._lock:
            held, self._held = self._held, []
        for duplicate in held:
            _shut_down(duplicate)
            duplicate.close()

    def cut(self, reason: Exception) -> None:
        """Shuts all sockets down, those held later too. `check` raises the first reason from now on."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            for duplicate in self._held:
                _shut_down(duplicate)
            for event in self._waiting:
                event.set()

    def check(self) -> None:
        """Raises the reason of a cut."""
        if self._reason is not None:
            raise self._reason

    @contextmanager
    def limit(self, seconds: float, reason: Exception) -> Iterator[None]:
        """Cuts the wire unless the block ends in time."""
        watchdog = threading.Timer(seconds, self.cut, (reason,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def wait_for(self, call: Callable[[], T], seconds: float) -> T:
        """Makes a call that cannot be interrupted, such as a look-up of a name, in a thread, and leaves it behind
        where it takes too long.

        Raises what the call raises, TimeoutError after `seconds`, and the reason of a cut at once.
        """
        results: list[T] = []
        errors: list[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                results.append(call())
            except Exception as error:  # noqa: BLE001  handed on to the caller's thread
                errors.append(error)
            done.set()

        with self._lock:
            self._waiting.add(done)
        try:
            self.check()
            threading.Thread(target=work, name="ingest-call", daemon=True).start()
            done.wait(seconds)
        finally:
            with self._lock:
                self._waiting.discard(done)
        self.check()
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError
        return results[0]


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # not connected yet, or not any more
        connection.shutdown(socket.SHUT_RDWR)
