"""Joins the small blocks that some servers send, so that a byte does not cost what a block does.

A single small block is handed on at once: the beginning of a picture may be all that comes for a while. Only where one
small block follows the other, many are taken together. Where they are tiny, as chunks of one byte are, whoever reads
them rests between: the network then slows the server down.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SMALL = 1024
"""Bytes of a block that costs more to handle than to read."""

MANY = 32
"""Small blocks in a row after which more are to be expected."""

ENOUGH = 16 * 1024
"""Bytes that are handed on together at most, or so many blocks: some milliseconds' work."""

LONGEST = 0.1
"""Seconds that bytes are held back while more arrive."""

TINY = 64
"""Bytes of a block, in the mean, that no honest server sends."""

REST = 9.0
"""Times the work that a reader of tiny blocks rests: a tenth of a core is what such a connection gets."""


class Coalesced:
    """Reads from one body.

    Parameters
    ----------
    read: gives the next bytes, as many as have arrived, and none at the end; may raise.
    rest: lets so many seconds pass; may raise.
    clock, work: seconds that have passed, and that this thread has worked.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        rest: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._read = read
        self._rest = rest
        self._clock = clock
        self._work = work
        self._small = 0
        self._error: Exception | None = None

    def read(self) -> bytes:
        """The next bytes; none at the end. Raises what `read` and `rest` raise, behind the bytes that came before."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        if self._small < MANY:
            block = self._read()
            self._small = self._small + 1 if len(block) < SMALL else 0
            return block
        return self._gather()

    def _gather(self) -> bytes:
        began, worked = self._clock(), self._work()
        gathered, block, count = bytearray(), b"", 0
        while len(gathered) < ENOUGH and count < ENOUGH:
            try:
                block = self._read()
            except Exception as error:
                if not gathered:
                    raise
                # Without its frames, which would refer back to this.
                self._error = error.with_traceback(None)
                break
            count += 1
            gathered += block
            if len(block) >= SMALL:
                self._small = 0
            if not block or not self._small or self._clock() - began > LONGEST:
                break
        if block and len(gathered) < TINY * count and self._error is None:
            self._rest(REST * (self._work() - worked))
        return bytes(gathered)
