"""Join the small blocks that some servers send, because handling a block costs the same whatever its size.

A single small block is returned at once, because nothing more may arrive for a while. Only after many small blocks in a
row are they joined. If the blocks are tiny, such as chunks of one byte, the reader pauses between them, so that flow
control slows the server down.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SMALL = 1024
"""Bytes. Blocks below this size cost more to handle than to read."""

MANY = 32
"""Number of small blocks in a row after which they are joined."""

ENOUGH = 16 * 1024
"""Maximum number of bytes, and of blocks, that are joined: some milliseconds of work."""

LONGEST = 0.1
"""Maximum seconds for which bytes are held back while more arrive."""

TINY = 64
"""Bytes. Only a hostile or broken server sends blocks whose mean size is below this."""

REST = 9.0
"""Pause after tiny blocks, as a multiple of the time spent on them: such a connection gets a tenth of a core."""


class Coalesced:
    """Reads one response body.

    Parameters
    ----------
    read: returns the next bytes that have arrived; empty at the end. May raise.
    rest: sleeps for a number of seconds. May raise.
    clock: returns monotonic seconds.
    work: returns the CPU seconds of this thread.
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
        """Return the next bytes; empty at the end.

        Raises what `read` and `rest` raise, but only after all bytes that arrived before the error were returned.
        """
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
                # Without its traceback, whose frames would refer back to this object.
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
