"""Decide by trial whether several connections download a file faster than one. Does no I/O.

Several connections are faster if something limits each one, as most servers and every long distance do. If this
machine or its network link is the limit, they are slower, and the first connection goes on alone.
"""

from __future__ import annotations

JOIN_AFTER = 0.2
"""Seconds for which the rate of the first connection alone is measured."""

TRIAL = 1.5
"""Seconds after which the rates are compared: over a long distance a new connection's rate takes so long to grow."""

A_LOSS = 0.9
"""Fraction of the single connection's rate below which several count as slower. Smaller differences are chance."""

TRIALS = 2
"""Number of trials. The first rate of a single connection may have been a burst; then the second trial decides."""


class Parallelism:
    """Decides from regular reports of the rate, in bytes a second over about the last second.

    Attributes
    ----------
    is_over: whether the additional connections have to leave.
    """

    def __init__(self, now: float) -> None:
        self.is_over = False
        self._since = now
        self._alone: float | None = None
        self._shared: float | None = None
        self._is_judged = True
        self._trials = 0

    def may_begin(self, now: float, rate: float) -> bool:
        """Return whether another connection may join now."""
        if not self._trials:
            return now - self._since >= JOIN_AFTER
        if not self.is_over:
            return True
        is_faster = self._shared is not None and rate < A_LOSS * self._shared
        return self._trials < TRIALS and now - self._since >= TRIAL and is_faster

    def begin(self, now: float, rate: float) -> None:
        """Note that a connection joins. `rate` is the rate of the first one alone, if it was alone until now."""
        if not self._trials or self.is_over:
            self._since, self._alone = now, rate
            self._trials += 1
            self.is_over = self._is_judged = False

    def judge(self, now: float, rate: float) -> None:
        """Compare the rates once, TRIAL seconds after the others joined. Set `is_over` if they made it slower."""
        if self._is_judged or now - self._since < TRIAL:
            return
        self._is_judged = True
        self._shared = rate
        if self._alone is not None and rate < A_LOSS * self._alone:
            self.is_over, self._since = True, now
