"""Measure the rate of a download, and detect one that is too slow. Does no I/O."""

from __future__ import annotations

from collections import deque

RECENT = 1.0
"""Seconds over which the current rate is measured."""


class MinimumRate:
    """Computes rates from regular reports of the number of received bytes.

    Parameters
    ----------
    now: monotonic seconds.
    min_rate: minimum rate in bytes a second.
    window: seconds over which the mean rate has to reach the minimum.
    """

    def __init__(self, now: float, min_rate: int, window: float) -> None:
        self._began = now
        self._recent: deque[tuple[float, int]] = deque([(now, 0)])
        self._min_rate = min_rate
        self._window = window
        self._mark = (now, 0)

    def note(self, now: float, count: int) -> None:
        """Note that `count` bytes were received in all."""
        self._recent.append((now, count))
        while len(self._recent) > 2 and self._recent[1][0] <= now - RECENT:
            self._recent.popleft()

    @property
    def seconds(self) -> float:
        """Seconds from the beginning to the last report."""
        return self._recent[-1][0] - self._began

    @property
    def rate(self) -> float:
        """Bytes a second over about the last RECENT seconds."""
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def is_too_slow(self) -> bool:
        """Return whether a whole window has passed in which the rate was below the minimum."""
        now, count = self._recent[-1]
        began, before = self._mark
        if now - began < self._window:
            return False
        self._mark = (now, count)
        return count - before < self._min_rate * (now - began)
