"""Progress of a build over all its passes."""

from __future__ import annotations

from collections.abc import Callable


class Meter:
    """Combines passes into one rising percentage, although the number of passes is not known at the start.

    Parameters
    ----------
    report: called with (percent of the whole, fraction of the current pass) at each move.
    """

    def __init__(self, report: Callable[[float, float], None]) -> None:
        self._report = report
        self._before = 0.0
        self._share = 0.0

    def begin(self, share_of_rest: float) -> None:
        """Start a pass that takes this share, 0 to 1, of what remains of the whole."""
        self._before += self._share
        self._share = (100.0 - self._before) * share_of_rest

    def move(self, fraction: float) -> None:
        """Set the progress of the current pass, 0 to 1."""
        self._report(self._before + self._share * min(1.0, fraction), min(1.0, fraction))
