"""Threads for blocking storage calls. If the storage hangs, the event loop and all other threads go on.

`asyncio.to_thread` will not do: it shares its threads with all other work, its queue is unbounded, and it keeps the
process from exiting while a file system hangs.
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
"""Concurrent calls: enough to keep a disk's queue full, and to overlap the round trips to a bucket."""

MOST_WAITING = 256
"""Calls that wait for a thread, enough for the tiles of some viewers. Any more are refused at once."""

PATIENCE = 10.0
"""Seconds that a request waits for storage, including its wait for a thread."""

Job = tuple["Future[Any]", Callable[[], Any]]


class StorageBusy(StorageError):
    """Raised when storage does not answer in time, or when too many calls wait for it."""


class StorageThreads:
    """Runs functions that may hang, for one event loop.

    Parameters
    ----------
    threads: maximum number of threads; started on demand.
    waiting: number of calls that may wait for a thread.
    patience: seconds that `run` waits.
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
        """Call a function in a thread and return its result. A started call runs on after a timeout or cancellation.

        Parameters
        ----------
        finished: always called, in any thread, once the function has ended or will not be called.
        discard: called with the function's result if nobody waits for it any more.

        Raises
        ------
        StorageBusy: too many calls wait, or this one took too long.
        """
        job: Future[T] = Future()
        if finished is not None:
            job.add_done_callback(lambda _: finished())
        with self._lock:
            is_refused = self._unfinished >= self._most
            self._unfinished += not is_refused
        if is_refused:
            job.cancel()
            raise StorageBusy("Too many requests wait for the storage.")
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
        # A daemon, so that the process can exit while its file system hangs.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            job, function = self._jobs.get()
            if not job.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  raised again where the result is awaited
                job.set_exception(error)
            else:
                job.set_result(result)
            del job, function


def _discard(discard: Callable[[T], object], job: Future[T]) -> None:
    if not job.cancelled() and job.exception() is None:
        discard(job.result())
