"""Limit this process's connections to each host, for the host's sake and for fairness between downloads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from copy import copy

from ingest.http.cancellation import Cancellation
from pipeline.errors import StageError

LOOK = 0.5
"""Seconds between two checks whether a waiting download was cancelled."""

LOWER_SECONDS = 60.0
"""Seconds for which a host's refusal lowers its limit. Downloads in other processes are counted by statussvc."""


class Hosts:
    """Counts the connections to each host. Thread-safe.

    A download's first connection waits until there is room. Its additional connections get room only while no other
    download waits.

    Parameters
    ----------
    limit: maximum number of connections to one host.
    clock: monotonic seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lower: dict[str, tuple[int, float]] = {}
        self._allows_additional = True
        self._open: Counter[str] = Counter()
        self._additional: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    def enter(self, host: str, cancellation: Cancellation, waiting: Callable[[], None]) -> None:
        """Count one more connection to a host, after waiting until there is room for it.

        Raises StageError("source_unavailable") if the host's own limit leaves no room: then the download waits without
        a slot. Raises the reason if `cancellation` is cancelled.

        Parameters
        ----------
        waiting: called at least every LOOK seconds while waiting.
        """
        with self._changed:
            self._waiting[host] += 1
            try:
                while self._open[host] >= self._limit_of(host):
                    cancellation.check()
                    if self._open[host] < self._limit and not self._additional[host]:
                        raise StageError(
                            "source_unavailable",
                            f"{host} allows {self._limit_of(host)} connections at once, and other downloads use them. "
                            "Retry later.",
                            refused_by=host,
                        )
                    waiting()
                    self._changed.wait(LOOK)
                self._open[host] += 1
            finally:
                self._waiting[host] -= 1

    def try_enter(self, host: str) -> bool:
        """Count one more connection to a host if there is room and no download waits. Return whether it was counted."""
        with self._changed:
            if not self._allows_additional or self._waiting[host] or self._open[host] >= self._limit_of(host):
                return False
            self._open[host] += 1
            self._additional[host] += 1
            return True

    def refused(self, host: str) -> bool:
        """Note that a host refused a download's first connection. Return whether additional ones make room for it.

        For LOWER_SECONDS, the host gets no more connections than it accepted.
        """
        with self._changed:
            if not self._additional[host]:
                return False
            self._lower[host] = max(1, self._open[host] - 1), self._clock() + LOWER_SECONDS
            return True

    def leave(self, host: str, *, additional: bool = False) -> None:
        """Count one connection less."""
        with self._changed:
            self._open[host] -= 1
            self._additional[host] -= additional
            for counts in (self._open, self._waiting, self._additional):
                if not counts[host]:
                    del counts[host]
            self._changed.notify_all()

    def without_additional(self) -> Hosts:
        """Return the same counts for a download that may have one connection only."""
        single = copy(self)
        single._allows_additional = False
        return single

    def _limit_of(self, host: str) -> int:
        limit, until = self._lower.get(host, (self._limit, 0.0))
        if self._clock() < until:
            return limit
        self._lower.pop(host, None)
        return self._limit

    def count(self, host: str) -> int:
        """Return how many connections to a host are open or being opened."""
        return self._open[host]

    def is_wanted(self, host: str) -> bool:
        """Return whether a download waits for its first connection to a host."""
        return self._waiting[host] > 0
