"""Threads that only wait for storage: whatever becomes of it, the event loop and its other threads go on.

`asyncio.to_thread` shares its threads with everything else, queues without end, and holds a process up at its end for
as long as a file system hangs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from pipeline.errors import StorageError

T = TypeVar("T")

THREADS = 16
"""Reads at once: a disk has enough to choose from, and a bucket's round trips overlap."""

MOST_WAITING = 256
"""Reads that wait for a thread: some viewers' tiles. What comes beyond is refused at once."""

PATIENCE = 10.0
"""Seconds that a request waits for storage, its wait for a thread included."""

Job = tuple["Future[Any]", Callable[[], Any]]


class StorageBusy(StorageError):
    """Raised where storage does not answer in time, or has too much to do to be asked."""


class StorageThreads:
    """Runs functions that may hang, for one event loop.

    Parameters
    ----------
    threads: started as they are needed.
    waiting: calls that may wait for a thread.
    patience: seconds.
    """

    def __init__(self, threads: int = THREADS, waiting: int = MOST_WAITING, patience: float = PATIENCE) -> None:
        self._most_threads = threads
        self._most = threads + waiting
        self._patience = patience
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished = 0
        self._started = 0

    async def run(
        self,
        function: Callable[..., T],
        *arguments: object,
        finished: Callable[[], object] | None = None,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Call a function in a thread. One that has begun goes on when nobody waits for it any longer.

        Parameters
        ----------
        finished: called in any case, in any thread, once the function is over or will not be called.
        discard: called with what the function has returned where nobody waits for it.

        Raises
        ------
        StorageBusy: there is too much to do, or it took too long.
        """
        job: Future[T] = Future()
        if finished is not None:
            job.add_done_callback(lambda _: finished())
        with self._lock:
            is_refused = self._unfinished >= self._most
            self._unfinished += not is_refused
        if is_refused:
            job.cancel()
            raise StorageBusy("The storage has too much to do.")
        job.add_done_callback(self._end)
        self._start_thread()
        self._jobs.put((job, partial(function, *arguments)))
        waiting = asyncio.wrap_future(job)
        try:
            await asyncio.wait({waiting}, timeout=self._patience)
            if waiting.done():
                return waiting.result()
            raise StorageBusy(f"The storage did not answer within {self._patience:g} seconds.")
        finally:
            if not waiting.done():
                waiting.cancel()
                if discard is not None:
                    job.add_done_callback(partial(_discard, discard))

    def _end(self, _job: Future[Any]) -> None:
        with self._lock:
            self._unfinished -= 1

    def _start_thread(self) -> None:
        with self._lock:
            if self._started >= min(self._unfinished, self._most_threads):
                return
            self._started += 1
            name = f"storage-{self._started}"
        # A daemon: a process must be able to end although its file system hangs.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            job, function = self._jobs.get()
            if not job.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
                job.set_exception(error)
            else:
                job.set_result(result)
            del job, function


def _discard(discard: Callable[[T], object], job: Future[T]) -> None:
    if not job.cancelled() and job.exception() is None:
        discard(job.result())
