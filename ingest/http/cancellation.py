"""Cancel a connection from another thread, in any phase.

`requests` limits the time of each read but not of a whole exchange, so slow headers can take forever. Shutting down
the socket stops every phase (connect, TLS, headers, body): a blocked read returns at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


class Cancellation:
    """Holds a connection's socket in order to shut it down. Cancelling a parent cancels its children. Thread-safe."""

    def __init__(self, parent: Cancellation | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._children: list[Cancellation] = []
        self._waiting: set[threading.Event] = set()
        self._is_cancelled = threading.Event()
        self._reason: Exception | None = None

    def child(self) -> Cancellation:
        """Return a new Cancellation that is cancelled together with this one."""
        child = Cancellation(self)
        with self._lock:
            self._children.append(child)
            reason = self._reason
        if reason is not None:
            child.cancel(reason)
        return child

    def hold(self, connection: socket.socket) -> None:
        """Hold a socket, connected or not, and shut down the one that was held before."""
        # A duplicate, because wrapping the socket in TLS detaches its descriptor.
        duplicate = connection.dup()
        self.release()
        with self._lock:
            self._held = duplicate
            if self._reason is not None:
                _shut_down(duplicate)

    def release(self) -> None:
        """Shut down the held socket and stop holding it."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            _shut_down(held)
            held.close()

    def renew(self) -> None:
        """Shut down the held socket, and undo a cancellation unless the parent is cancelled."""
        self.release()
        with self._lock:
            self._reason = self._parent.reason if self._parent is not None else None
            if self._reason is None:
                self._is_cancelled.clear()

    def cancel(self, reason: Exception) -> None:
        """Shut down the held and all later sockets, also those of children. `check` then raises the first reason."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            self._is_cancelled.set()
            if self._held is not None:
                _shut_down(self._held)
            for event in self._waiting:
                event.set()
            children = list(self._children)
        for child in children:
            child.cancel(reason)

    @property
    def reason(self) -> Exception | None:
        """Why this was cancelled, the parent's reason first; None if it was not."""
        return (self._parent.reason if self._parent is not None else None) or self._reason

    def check(self) -> None:
        """Raise the reason if this was cancelled."""
        reason = self.reason
        if reason is not None:
            raise reason

    def pause(self, seconds: float) -> None:
        """Sleep, and raise the reason at once if this is cancelled."""
        self._is_cancelled.wait(seconds)
        self.check()

    @contextmanager
    def limit(self, seconds: float, reason: Exception) -> Iterator[None]:
        """Cancel with `reason` if the block takes longer than `seconds`."""
        watchdog = threading.Timer(seconds, self.cancel, (reason,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def wait_for(self, call: Callable[[], T], seconds: float) -> T:
        """Run a call that cannot be interrupted, such as a DNS lookup, in a thread. Abandon it if it takes too long.

        Raises what the call raises, TimeoutError after `seconds`, and the reason at once if this is cancelled.
        """
        results: list[T] = []
        errors: list[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                results.append(call())
            except Exception as error:  # noqa: BLE001  raised again in the caller's thread
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
    with suppress(OSError):  # The socket is not connected yet, or no longer.
        connection.shutdown(socket.SHUT_RDWR)
