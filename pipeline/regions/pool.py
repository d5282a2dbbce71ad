"""The confined children that join tiles, each with a thread of this process that talks with it.

Children are started when they are needed, kept for the next results, and ended when nothing was asked for a while. A
child that hangs or dies takes only its own result with it.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RegionsBusy, TilewrightError
from pipeline.regions.protocol import JOBS, LENGTH, REPORTS, STARTS, Failed, Job, Start
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent

COMMAND = parent.command("pipeline.regions.child")

BATCH = 32
"""Tiles that are fetched and sent at once. They are in memory until the child has read them."""

IDLE = 60.0
"""Seconds after which a child without work is ended: a new one takes a fifth of a second to start."""

MOST_JOBS = 1000
"""Results after which a child is replaced, so that a leak of memory, or of trust, does not last."""

PIPE_BYTES = 1 << 20
"""The most that Linux allows by default."""

BASE_MEMORY = 384 << 20
"""Bytes of address space for Python, Pillow, and the tiles of one row with the pixels that they become."""

PIXEL_MEMORY = 40
"""Bytes of address space for each pixel of the largest result: up to two rows of the level for each of its own, the
result before and after it is turned and coloured, and what it is encoded to; 4 bytes each."""

RESULT_BYTES = 8
"""Most bytes of a result for each of its pixels. Noise as PNG takes a little more than 4."""

SPARE_RESULT_BYTES = 64 << 10
"""Most bytes of a result besides: heads and tables."""

SIGNATURES = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}

logger = logging.getLogger(__name__)

Fetch = Callable[[int, int], Sequence[bytes]]
"""Returns the tiles from a number to before another, counted by rows. It may block, and raise any error."""


class Busy(RegionsBusy):
    """Raised when too many results wait, or when one took too long."""


class Spoiled(TilewrightError):
    """Raised when a tile is not what it should be, or a child fails on it. A retry would not help."""


class _Died(Exception):
    """Raised when a child has ended, or does not keep to the protocol."""


@dataclass
class Stats:
    """What a pool has done. Only for people: it is read without a lock.

    Parameters
    ----------
    made, failed, refused: results, results that failed, and those for which there was no place.
    started: children.
    seconds: in which the results were made, without their wait.
    """

    made: int = 0
    failed: int = 0
    refused: int = 0
    started: int = 0
    seconds: float = 0.0


class Pool:
    """Joins tiles in child processes. Its methods may be called from any thread.

    Parameters
    ----------
    workers: most children.
    waiting: most results that wait for a child.
    seconds: most time for one result, once it has a child.
    max_area: pixels of the largest result.
    idle: seconds after which a child without work is ended.
    command: the command of a child.
    """

    def __init__(
        self,
        workers: int,
        waiting: int,
        seconds: float,
        max_area: int,
        idle: float = IDLE,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._most_workers = workers
        self._most_waiting = waiting
        self._seconds = seconds
        self._max_area = max_area
        self._idle = idle
        self._command = command
        self._lock = threading.Condition()
        self._queue: deque[tuple[Future[bytes], Job, Fetch]] = deque()
        self.threads: list[threading.Thread] = []
        self._working = 0
        self._closed = False
        self.stats = Stats()

    @property
    def waiting(self) -> int:
        """Number of results that wait for a child."""
        return len(self._queue)

    @property
    def working(self) -> int:
        """Number of results that are being made."""
        return self._working

    def submit(self, job: Job, fetch: Fetch) -> Future[bytes]:
        """Return a future of the result. Until a child begins with it, it can be cancelled.

        The future raises Busy, Spoiled, or what `fetch` raises.

        Parameters
        ----------
        fetch: called in another thread.

        Raises
        ------
        Busy: too many wait.
        """
        future: Future[bytes] = Future()
        with self._lock:
            # Those whose clients have left do not count.
            live = [entry for entry in self._queue if not entry[0].cancelled()]
            if len(live) < len(self._queue):
                self._queue = deque(live)
            free = self._most_workers - self._working
            if self._closed or len(live) >= self._most_waiting + free:
                self.stats.refused += 1
                raise Busy("Too many regions are being made. Try again in a moment.")
            self._queue.append((future, job, fetch))
            if len(self.threads) < min(self._most_workers, self._working + len(self._queue)):
                # A thread lives as long as the pool: the kernel ends a child with the thread that started it.
                thread = threading.Thread(target=self._work, name=f"regions-{len(self.threads) + 1}", daemon=True)
                self.threads.append(thread)
                thread.start()
            self._lock.notify()
        return future

    def close(self) -> None:
        """End the children. Results that wait are refused."""
        with self._lock:
            self._closed = True
            for future, _, _ in self._queue:
                if future.set_running_or_notify_cancel():
                    future.set_exception(Busy("The gateway is stopping."))
            self._queue.clear()
            self._lock.notify_all()

    def _work(self) -> None:
        child: _Worker | None = None
        while True:
            with self._lock:
                has_work = self._lock.wait_for(
                    lambda: bool(self._queue) or self._closed, self._idle if child is not None else None
                )
                entry = self._queue.popleft() if self._queue else None
                self._working += entry is not None
            if child is not None and (not has_work or self._closed):
                child.end()
                child = None
            if entry is None:
                if self._closed:
                    return
                continue
            future, job, fetch = entry
            outcome: bytes | BaseException | None = None
            if future.set_running_or_notify_cancel():
                child, outcome = self._made(child, job, fetch)
            with self._lock:
                self._working -= 1
            # Only now, so that whoever waits for it finds the child free.
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            elif outcome is not None:
                future.set_result(outcome)
            del future, job, fetch, entry, outcome

    def _made(self, child: _Worker | None, job: Job, fetch: Fetch) -> tuple[_Worker | None, bytes | BaseException]:
        """Make one result. Return the child for the next one (None if it was ended), and the result or its error."""
        begun = time.perf_counter()
        try:
            try:
                child = child or self._start()
                result = child.make(job, fetch, self._seconds)
            except _Died:
                # One that was idle may have been killed by the machine, for want of memory.
                if child is None or not child.jobs:
                    raise
                child.end()
                child = None
                child = self._start()
                result = child.make(job, fetch, self._seconds)
        except BaseException as error:  # noqa: BLE001  raised again where the result is awaited
            self.stats.failed += 1
            if child is not None and not child.is_sound:
                child.end()
                child = None
            return child, Spoiled(str(error)) if isinstance(error, _Died) else error
        self.stats.made += 1
        self.stats.seconds += time.perf_counter() - begun
        if child.jobs >= MOST_JOBS:
            child.end()
            child = None
        return child, result

    def _start(self) -> _Worker:
        self.stats.started += 1
        try:
            return _Worker(self._command, BASE_MEMORY + PIXEL_MEMORY * self._max_area)
        except OSError as error:
            raise Busy(f"No process can be started to make the region ({error.strerror}). Try again later.") from error


class _Worker:
    """A child, as seen by its thread.

    Attributes
    ----------
    jobs: results that it has made.
    is_sound: whether it waits for the next job.
    """

    def __init__(self, command: tuple[str, ...], memory: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tilewright-regions-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        environment = sandbox.environment(folder, {"MALLOC_ARENA_MAX": "1"})
        try:
            self._child = parent.Child(command, STARTS.encode(Start(memory)), folder=folder, environment=environment)
        except BaseException:
            self._folder.cleanup()
            raise
        self._child.widen_pipes(PIPE_BYTES)
        self.jobs = 0
        self.is_sound = True

    def make(self, job: Job, fetch: Fetch, seconds: float) -> bytes:
        """Raises _Died, Busy if it takes too long, Spoiled, or what `fetch` raises."""
        self.is_sound = False
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        watchdog = threading.Timer(seconds, stop)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._send(JOBS.encode(job))
            count = len(job.widths) * len(job.heights)
            for first in range(0, count, BATCH):
                for tile in fetch(first, min(count, first + BATCH)):
                    self._send(tile)
            result = self._result(job)
        except (EOFError, OSError, ValueError) as error:
            if late.is_set():
                raise Busy(f"The region was not made within {seconds:g} seconds. Try again later.") from error
            raise _Died(f"the child that joins tiles failed: {str(error) or 'it ended'}") from error
        finally:
            watchdog.cancel()
        self.jobs += 1
        self.is_sound = True
        if isinstance(result, Failed):
            raise Spoiled(result.message)
        return result

    def end(self) -> None:
        """End the child and wait for it."""
        with self._child:
            pass
        if self._child.last_words:
            logger.warning("a child that joins tiles said: %s", self._child.last_words)
        self._folder.cleanup()

    def _send(self, data: bytes) -> None:
        self._child.send(LENGTH.pack(len(data)))
        self._child.send(data)

    def _result(self, job: Job) -> bytes | Failed:
        # The child may be taken over by a tile: what it says is checked.
        report = REPORTS.decode(self._frame(parent.LINE_LIMIT))
        if isinstance(report, Failed):
            return report
        result = self._frame(SPARE_RESULT_BYTES + RESULT_BYTES * job.width * job.height)
        if not result.startswith(SIGNATURES[job.extension]):
            raise ValueError(f"not a {job.extension}: {result[:20]!r}")
        return result

    def _frame(self, most: int) -> bytes:
        (length,) = LENGTH.unpack(self._child.receive(LENGTH.size))
        if length > most:
            raise ValueError(f"{length} bytes, more than {most}")
        return self._child.receive(length)
