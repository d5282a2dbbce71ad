"""A limit of bytes in memory over all connections of a gateway: beyond it, the connections that hold most are ended."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from pipeline.logs import Repeats

LEFT = 3 / 4
"""Share of the limit that is left after connections were ended, so that not every piece or response ends one."""

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """A connection.

    Attributes
    ----------
    since: when it last made progress, in the event loop's time.
    """

    since: float


C = TypeVar("C", bound=Timed)


class ByteLimit(ABC, Generic[C]):
    """The bytes that connections hold, in `_total`.

    Parameters
    ----------
    limit: maximum bytes.
    """

    MESSAGE: str
    """What is logged, with the limit, the number of ended connections and that of lines left out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._repeats = Repeats()

    @abstractmethod
    def held(self, connection: C) -> int:
        """Return the bytes that were counted for a connection."""

    @abstractmethod
    def forget(self, connection: C) -> None:
        """No longer count a connection that was closed."""

    @abstractmethod
    def end(self, connection: C) -> None:
        """End a connection, or its request."""

    def _end_largest(self, present: Iterable[C]) -> None:
        """End connections until enough is left; of those that hold the same, the ones without progress for longest."""
        ended = 0
        for one in sorted(present, key=lambda one: (-self.held(one), one.since)):
            if self._total <= self._limit * LEFT or not self.held(one):
                break
            self.forget(one)
            self.end(one)
            ended += 1
        if (left_out := self._repeats.left_out("")) is not None:
            logger.warning(self.MESSAGE, self._limit, ended, left_out)
