"""Hash a file while other threads receive it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ingest.download.checksums import Algorithm

BACKLOG = 4
"""Blocks that may wait to be hashed: enough to keep both threads busy, and at most a megabyte."""

READ_BACK = 256 * 1024
"""Bytes per read when the next block to hash has to be read back from the file."""


class Digest:
    """Hashes a file up to its first gap, in a thread of its own. hashlib releases the GIL.

    A download from the same machine took 1.1 times as long as curl's with one thread, and 0.7 times with two. Blocks
    that arrive in order are hashed from memory. Blocks that arrive out of order or too fast are read back from the
    file.
    """

    def __init__(self, descriptor: int, algorithms: Iterable[Algorithm]) -> None:
        self._descriptor = descriptor
        self._hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
        self._blocks: deque[bytes | memoryview] = deque()
        self._taken = 0
        self._prefix = 0
        self._ended = False
        self._failure: OSError | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="ingest-digest", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._ended = True
            if kind is not None:
                self._blocks.clear()
                self._prefix = self._taken
            self._news.notify()
        self._thread.join()

    def grow(self, prefix: int, first: int, block: bytes | memoryview) -> None:
        """Note that a block was written at `first`, and that the file's first `prefix` bytes have no gap."""
        with self._news:
            self._prefix = prefix
            if first == self._taken and len(self._blocks) < BACKLOG and prefix >= first + len(block):
                self._blocks.append(block)
                self._taken += len(block)
            self._news.notify()

    def digests(self) -> dict[Algorithm, str]:
        """Return the hashes of the file in hex. Call this only after the `with` block.

        Raises OSError if the file could not be read back.
        """
        if self._failure is not None:
            raise self._failure
        return {algorithm: made.hexdigest() for algorithm, made in self._hashes.items()}

    def _work(self) -> None:
        while (block := self._next()) is not None:
            for made in self._hashes.values():
                made.update(block)

    def _next(self) -> bytes | memoryview | None:
        with self._news:
            self._news.wait_for(lambda: self._blocks or self._taken < self._prefix or self._ended)
            if self._blocks:
                return self._blocks.popleft()
            first, count = self._taken, min(READ_BACK, self._prefix - self._taken)
            if not count:
                return None
            self._taken += count
        try:
            return _read(self._descriptor, first, count)
        except OSError as error:
            self._failure = error
            return None


def _read(descriptor: int, first: int, count: int) -> bytes:
    block = os.pread(descriptor, count, first)
    while len(block) < count:
        more = os.pread(descriptor, count - len(block), first + len(block))
        if not more:
            raise OSError("the file is shorter than what was written")
        block += more
    return block
