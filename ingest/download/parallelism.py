"""Whether several connections bring a file faster than one: found out by trying. Pure.

They do where each is limited by itself, as by most servers and on every long way. Where the machine or its line is the
limit, they only get in each other's way: then the first goes on alone.
"""

from __future__ import annotations

JOIN_AFTER = 0.2
"""Seconds in which the first connection shows what it can do alone."""

TRIAL = 1.5
"""Seconds after which it shows whether the others help: their own rates take as long to grow on a long way."""

A_LOSS = 0.9
"""Of the rate that one had alone: what differs less is chance."""

TRIALS = 2
"""How often others may join: the first rate of one alone may have been a burst, and the second one then tells."""


class Parallelism:
    """Told the rate now and then, in bytes a second over about the last second.

    Attributes
    ----------
    is_over: whether those who have joined are to leave again.
    """

    def __init__(self, now: float) -> None:
        self.is_over = False
        self._since = now
        self._alone: float | None = None
        self._shared: float | None = None
        self._is_judged = True
        self._trials = 0

    def may_begin(self, now: float, rate: float) -> bool:
        """Whether others may join now."""
        if not self._trials:
            return now - self._since >= JOIN_AFTER
        if not self.is_over:
            return True
        is_faster = self._shared is not None and rate < A_LOSS * self._shared
        return self._trials < TRIALS and now - self._since >= TRIAL and is_faster

    def begin(self, now: float, rate: float) -> None:
        """Another one joins the first, which has had this rate alone."""
        if not self._trials or self.is_over:
            self._since, self._alone = now, rate
            self._trials += 1
            self.is_over = self._is_judged = False

    def judge(self, now: float, rate: float) -> None:
        """Sees once, after a while, whether it was worth it."""
        if self._is_judged or now - self._since < TRIAL:
            return
        self._is_judged = True
        self._shared = rate
        if self._alone is not None and rate < A_LOSS * self._alone:
            self.is_over, self._since = True, now
