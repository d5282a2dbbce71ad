"""Rate limiting with a virtual clock. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable


class Pacing:
    """Limits actions by their cost in seconds: one second of cost per second of the clock, and bursts beyond that.

    Implements the generic cell rate algorithm (ITU-T I.371): one number holds the time until which all turns taken so
    far are paid for.

    Parameters
    ----------
    burst: seconds of cost that may be taken ahead of the clock.
    clock: returns monotonic seconds.
    """

    def __init__(self, burst: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._clock = clock
        self._paid_until = clock()

    def wait(self) -> float:
        """Return the seconds until the next turn is due."""
        return max(0.0, self._paid_until - self._clock() - self._burst)

    def take(self, cost: float) -> float:
        """Take the next turn, which costs `cost` seconds. Return the seconds until it is due."""
        wait = self.wait()
        self._paid_until = max(self._paid_until, self._clock()) + cost
        return wait
