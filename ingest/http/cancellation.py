"""Cancels a connection from another thread, whatever it is waiting for.

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


class Cancellation:
    """Holds a connection's socket, so that it can be shut down. Cancelling a parent cancels its children.

    All methods may be called from any thread.
    """

    def __init__(self, parent: Cancellation | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._children: list[Cancellation] = []
        self._waiting: set[threading.Event] = set()
        self._is_cancelled = threading.Event()
        self._reason: Exception | None = None

    def child(self) -> Cancellation:
        """Give a new one that is cancelled with this one."""
        child = Cancellation(self)
        with self._lock:
            self._children.append(child)
            reason = self._reason
        if reason is not None:
            child.cancel(reason)
        return child

    def hold(self, connection: socket.socket) -> None:
        """Takes a hold on a socket, which may be about to connect, and ends the one that was held."""
        # A duplicate, since wrapping the socket in TLS takes its descriptor away.
        duplicate = connection.dup()
        self.release()
        with self._lock:
            self._held = duplicate
            if self._reason is not None:
                _shut_down(duplicate)

    def release(self) -> None:
        """Ends the connection and lets go of it."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            _shut_down(held)
            held.close()

    def renew(self) -> None:
        """Ends the connection, and forgets a cancellation that was of this child alone."""
        self.release()
        with self._lock:
            self._reason = self._parent.reason if self._parent is not None else None
            if self._reason is None:
                self._is_cancelled.clear()

    def cancel(self, reason: Exception) -> None:
        """Shuts the sockets down, the children's and later ones too. `check` raises the first reason from now on."""
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
        """Why it was cancelled, the parent's reason first; None where it was not."""
        return (self._parent.reason if self._parent is not None else None) or self._reason

    def check(self) -> None:
        """Raises the reason, where it was cancelled."""
        reason = self.reason
        if reason is not None:
            raise reason

    def pause(self, seconds: float) -> None:
        """Lets time pass; raises the reason at once where it is cancelled."""
        self._is_cancelled.wait(seconds)
        self.check()

    @contextmanager
    def limit(self, seconds: float, reason: Exception) -> Iterator[None]:
        """Cancels unless the block ends in time."""
        watchdog = threading.Timer(seconds, self.cancel, (reason,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def wait_for(self, call: Callable[[], T], seconds: float) -> T:
        """Makes a call that cannot be interrupted, such as a look-up of a name, in a thread, and leaves it behind
        where it takes too long.

        Raises what the call raises, TimeoutError after `seconds`, and the reason at once where it is cancelled.
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
