"""How many connections this process has to each host: politeness towards the host, fairness between downloads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ingest.http.cancellation import Cancellation

LOOK = 0.5
"""Seconds between two looks of one who waits for whether it has been stopped."""


class Hosts:
    """Counts connections by host.

    A download's first connection waits until there is room, and its further ones are there only while nobody waits.

    Parameters
    ----------
    limit: connections to one host at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    def enter(self, host: str, cancellation: Cancellation, waiting: Callable[[], None]) -> None:
        """Takes a place at a host, and waits for it where there is none.

        Parameters
        ----------
        waiting: called now and then meanwhile.

        Raises the reason where it is cancelled.
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
        """Takes a place at a host where there is one that nobody waits for."""
        with self._changed:
            if self._waiting[host] or self._open[host] >= self._limit:
                return False
            self._open[host] += 1
            return True

    def leave(self, host: str) -> None:
        """Gives a place back."""
        with self._changed:
            self._open[host] -= 1
            for counts in (self._open, self._waiting):
                if not counts[host]:
                    del counts[host]
            self._changed.notify_all()

    def is_wanted(self, host: str) -> bool:
        """Whether a download waits for its first place at a host."""
        return self._waiting[host] > 0
