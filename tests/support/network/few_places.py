"""A host that answers a few requests at once, and refuses the others."""

from __future__ import annotations

import threading

from tests.support.network.sources import Behaviour, Exchange


class FewPlaces:
    """Counts the requests that are answered at once, over all paths.

    Attributes
    ----------
    refused: how many requests were refused.
    at_once: how many are answered now.
    most: the most that were asked for at once, those refused included, since it was last set.

    Parameters
    ----------
    places: how many are answered at once.
    refusal: how the others are answered.
    """

    def __init__(self, places: int, refusal: Behaviour) -> None:
        self.refused = self.at_once = self.most = 0
        self._places = places
        self._refusal = refusal
        self._lock = threading.Lock()

    def answer(self, behaviour: Behaviour) -> Behaviour:
        """A behaviour that takes a place as long as it answers."""

        def answer(exchange: Exchange) -> None:
            with self._lock:
                is_refused = self.at_once >= self._places
                self.refused += is_refused
                self.most = max(self.most, self.at_once + 1)
                self.at_once += not is_refused
            if is_refused:
                self._refusal(exchange)
                return
            try:
                behaviour(exchange)
            finally:
                with self._lock:
                    self.at_once -= 1

        return answer
