"""Searches, which may take long: a few at once, in their own threads and on their own connections.

A search ends with its result, at its time limit, or when its caller is gone. The database is then told to stop, so that
the thread and its connection are free for the next search.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from pipeline.errors import TooBusy
from statussvc.db.engines import patience

T = TypeVar("T")

AT_ONCE = 2
"""Searches at once: each may take a core, and statussvc shares its machine."""

QUEUE = 16
"""Searches that may wait for their turn."""

GRACE = 1.0
"""Seconds for the database to end a statement past its time limit, before it counts as unavailable."""

CANCEL_SECONDS = 2.0
"""Seconds within which PostgreSQL has to accept a request to cancel."""

CANCEL_AGAIN = 0.05
"""Seconds between two requests to cancel."""

STEPS = 1000
"""Instructions of SQLite's virtual machine between two checks whether to stop: a fraction of a millisecond."""

TOO_MANY = "Too many searches at once. Try again later."


class Ended(Exception):
    """Raised inside a search whose caller is gone."""


class Searches:
    """Runs functions of a Connection that only read.

    Parameters
    ----------
    seconds: how long a search may take, and how long it may wait for its turn.
    before: called first in the search's thread; raises where the database must not be read.
    """

    def __init__(self, engine: Engine, seconds: float, before: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._seconds = seconds
        self._before = before
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="db-search")
        self.under_way = 0

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Run a function and return its result. It ends when the caller is cancelled.

        Raises TooBusy, and the database's own errors: see `out_of_time`.
        """
        if self.under_way >= AT_ONCE + QUEUE:
            raise TooBusy(TOO_MANY)
        search = _Search(self._seconds)
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._search, search, function)
        self.under_way += 1
        future.add_done_callback(self._ended)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            search.end()
            if not search.has_begun:
                future.cancel()  # frees its place in the queue at once
            raise

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self.under_way -= 1
        if not future.cancelled():
            future.exception()  # marks it as retrieved: the caller may be gone

    def _search(self, search: _Search, function: Callable[[Connection], T]) -> T:
        search.begin()
        self._before()
        with patience(time.monotonic() + self._seconds + GRACE), self._engine.connect() as connection:
            stopping = _sqlite if connection.dialect.name == "sqlite" else _postgres
            with stopping(search, connection):
                return function(connection)


class _Search:
    """One search, from its request to its end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._stopped = threading.Event()
        self.is_left = False
        self.has_begun = False

    def begin(self) -> None:
        """Start its time. Raises Ended where its caller is gone, TooBusy where it waited for its turn too long."""
        self.has_begun = True
        if self.is_left:
            raise Ended
        if time.monotonic() > self._deadline:
            raise TooBusy(TOO_MANY)
        self._deadline = time.monotonic() + self._seconds

    def is_over(self) -> bool:
        """Whether it has to stop."""
        return self.is_left or time.monotonic() > self._deadline

    def end(self) -> None:
        """Stop it, now or when it begins. Returns at once."""
        self.is_left = True
        if self._stop is not None:
            threading.Thread(target=self._end, name="db-search-end", daemon=True).start()

    def _end(self) -> None:
        # Repeated, since a request that arrives before the statement has no effect.
        while not self._stopped.wait(CANCEL_AGAIN):
            with self._lock:
                if self._stop is not None:
                    self._stop()

    @contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have `end` call `stop` while the block runs, from another thread, and never after it."""
        self._stop = stop
        try:
            if self.is_left:
                raise Ended
            yield
        finally:
            with self._lock:
                self._stop = None
            self._stopped.set()


@contextmanager
def _sqlite(search: _Search, connection: Connection) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(search.is_over, STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _postgres(search: _Search, connection: Connection) -> Iterator[None]:
    # The server itself holds the time limit: see engines.
    driver: Any = connection.connection.driver_connection
    try:
        with search.stopped_by(lambda: driver.cancel_safe(timeout=CANCEL_SECONDS)):
            yield
    finally:
        if search.is_left:
            # A late request to cancel must not end another search's statement on this connection.
            connection.invalidate()
