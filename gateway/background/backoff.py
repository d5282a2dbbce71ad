"""Pauses between attempts: doubled after each failure in a row. Does no I/O."""

from __future__ import annotations


class Backoff:
    """The pauses of one activity that is tried again and again.

    Parameters
    ----------
    first: seconds of the first pause.
    longest: seconds above which the pause no longer grows.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._pause = first

    def next(self) -> float:
        """Return the seconds to wait after a failure."""
        pause = self._pause
        self._pause = min(2 * pause, self._longest)
        return pause

    def reset(self) -> None:
        """Begin with the first pause again, after a success."""
        self._pause = self._first
