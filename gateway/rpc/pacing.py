"""How often something may be done, by a virtual clock. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Pacing:
    """Turns for what costs time, the sum of which may be one second a second; a burst may go ahead of the clock.

    The generic cell rate algorithm (ITU-T I.371): one number holds until when all turns given so far are paid for.

    Parameters
    ----------
    burst: seconds of costs that may be taken at once.
    clock: monotonic seconds.
    """

    def __init__(self, burst: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._clock = clock
        self._paid_until = clock()

    def wait(self) -> float:
        """Give the seconds after which the next turn is due."""
        return max(0.0, self._paid_until - self._clock() - self._burst)

    def take(self, cost: float) -> float:
        """Take the next turn, for `cost` seconds; gives the seconds after which it is due."""
        wait = self.wait()
        self._paid_until = max(self._paid_until, self._clock()) + cost
        return wait
