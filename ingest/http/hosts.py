"""Limit this process's connections to each host, for the host's sake and for fairness between downloads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ingest.http.cancellation import Cancellation

LOOK = 0.5
"""Seconds between two checks whether a waiting download was cancelled."""


class Hosts:
    """Counts the connections to each host. Thread-safe.

    A download's first connection waits until there is room. Its additional connections get room only while no other
    download waits.

    Parameters
    ----------
    limit: maximum number of connections to one host.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    def enter(self, host: str, cancellation: Cancellation, waiting: Callable[[], None]) -> None:
        """Count one more connection to a host, after waiting until there is room for it.

        Raises the reason if `cancellation` is cancelled.

        Parameters
        ----------
        waiting: called at least every LOOK seconds while waiting.
        """
        with self._changed:
            self._waiting[host] += 1
            try:
                while self._open[host] >= self._limit:
                    cancellation.check()
                    waiting()
                    self._changed.wait(LOOK)
                self._open[host] += 1
            finally:
                self._waiting[host] -= 1

    def try_enter(self, host: str) -> bool:
        """Count one more connection to a host if there is room and no download waits. Return whether it was counted."""
        with self._changed:
            if self._waiting[host] or self._open[host] >= self._limit:
                return False
            self._open[host] += 1
            return True

    def leave(self, host: str) -> None:
        """Count one connection less."""
        with self._changed:
            self._open[host] -= 1
            for counts in (self._open, self._waiting):
                if not counts[host]:
                    del counts[host]
            self._changed.notify_all()

    def is_wanted(self, host: str) -> bool:
        """Return whether a download waits for its first connection to a host."""
        return self._waiting[host] > 0
