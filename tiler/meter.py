"""How far a build is, over all its passes."""

from __future__ import annotations

from collections.abc import Callable


class Meter:
    """One rising percentage over passes whose number is only known as they come.

    Parameters
    ----------
    report: called with (percent of all, fraction of the present pass) whenever a pass moves.
    """

    def __init__(self, report: Callable[[float, float], None]) -> None:
        self._report = report
        self._before = 0.0
        self._share = 0.0

    def begin(self, share_of_rest: float) -> None:
        """Start a pass that takes this share, 0 to 1, of what is left of the whole."""
        self._before += self._share
        self._share = (100.0 - self._before) * share_of_rest

    def move(self, fraction: float) -> None:
        """Say how far the present pass is, 0 to 1."""
        self._report(self._before + self._share * min(1.0, fraction), min(1.0, fraction))
