"""How fast a download is, and whether that is too slow: pure."""

from __future__ import annotations

from collections import deque

RECENT = 1.0
"""Seconds over which the present rate is measured."""


class Pace:
    """Told now and then how many bytes have come.

    Parameters
    ----------
    now: seconds of any clock that only goes forward.
    min_rate: bytes a second.
    window: seconds over which the mean has to reach it.
    """

    def __init__(self, now: float, min_rate: int, window: float) -> None:
        self._began = now
        self._recent: deque[tuple[float, int]] = deque([(now, 0)])
        self._min_rate = min_rate
        self._window = window
        self._mark = (now, 0)

    def note(self, now: float, count: int) -> None:
        """So many bytes have come in all."""
        self._recent.append((now, count))
        while len(self._recent) > 2 and self._recent[1][0] <= now - RECENT:
            self._recent.popleft()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._recent[-1][0] - self._began

    @property
    def rate(self) -> float:
        """Bytes a second of late."""
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def is_too_slow(self) -> bool:
        """Whether a whole window has passed in which too little came."""
        now, count = self._recent[-1]
        began, before = self._mark
        if now - began < self._window:
            return False
        self._mark = (now, count)
        return count - before < self._min_rate * (now - began)
