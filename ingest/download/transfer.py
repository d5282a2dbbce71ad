"""Brings a file in over one connection, or over several where that helps.

The first connection's answer is the file from its first missing byte on, and is read at once. Where the server gives
parts, and the rest would take a while, another one joins, far from the first, and once it has brought something the
others: each takes the piece that is missing next, or half of what another one still has before it. A connection that
breaks leaves its rest to whoever comes by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ingest.download.byte_ranges import UNBOUNDED, Span
from ingest.download.pace import Pace
from ingest.download.parallelism import Parallelism
from ingest.download.partial_file import PartialFile
from ingest.download.remote_file import OtherVersion, RemoteFile, Stream
from ingest.http import Cancellation, Connection, Crowded, incomplete
from ingest.settings import IngestSettings
from pipeline.errors import StageError

TICK = 0.1
"""Seconds between two looks at how it goes: several fit in the time after which others may join."""

WORTH_JOINING = 1.0
"""Seconds that the rest has to take for others to join: below it, connecting costs what it would gain."""

FAST_ENOUGH = 200 * 1024**2
"""Bytes a second from which the line is not what limits: one thread's hashing, or a disk, is."""

LEAST_PIECE = 1024**2
"""Bytes worth a request of their own: at 100 MB/s and 10 ms to the server, half of the time is waiting."""

LARGEST_PIECE = 64 * 1024**2
"""Bytes: what four connections have under way is soon hashed at the end, and a request for each costs nothing."""

PIECES_EACH = 4
"""Pieces for each connection in a file of middle size, so that a slow one holds up little."""

RECONNECTS = 4
"""Connections in a row that may break without bringing a byte."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before the second of them, doubling."""

REJOIN_AFTER = 10.0
"""Seconds after a further connection broke until another may join."""

PASSING = frozenset(
    {"source_incomplete", "source_timeout", "source_unreachable", "source_unresolvable", "source_unavailable"}
)
"""Codes of what a new connection may mend."""

OURS = frozenset({"source_too_large", "not_an_image", "unsupported_format", "out_of_disk"})
"""Codes of what no connection can mend."""


def piece(remote_file: RemoteFile, connections: int) -> int:
    """Bytes that one connection takes at once."""
    if not remote_file.is_divisible or remote_file.length is None:
        return UNBOUNDED
    return min(max(remote_file.length // (connections * PIECES_EACH), LEAST_PIECE), LARGEST_PIECE)


class Transfer:
    """One download's connections.

    Parameters
    ----------
    make_line: makes a further connection, without waiting for a place at its host.
    cancellation: the download's own, which ends all of it.
    """

    def __init__(
        self,
        remote_file: RemoteFile,
        partial_file: PartialFile,
        settings: IngestSettings,
        cancellation: Cancellation,
        make_line: Callable[[], Connection],
    ) -> None:
        self._remote_file = remote_file
        self._partial_file = partial_file
        self._settings = settings
        self._cancellation = cancellation
        self._make_connection = make_line
        self._changed = partial_file.changed
        self._alive = 0
        self._allowed = settings.source_connections
        self._join_not_before = 0.0
        self._first: Connection | None = None
        self._is_shared = False
        self._parallelism = Parallelism(0.0)
        self._threads: list[threading.Thread] = []

    def run(self, connection: Connection, stream: Stream) -> None:
        """Brings in all that is missing; returns when every byte is there.

        Raises StageError, StorageError, or the reason of a cut.
        """
        began = time.monotonic()
        pace = Pace(began, self._settings.source_min_rate, self._settings.source_rate_window)
        self._parallelism = Parallelism(began)
        self._first = connection
        self._start(connection, stream)
        try:
            while not self._wait():
                now = time.monotonic()
                pace.note(now, self._partial_file.received)
                if self._alive and pace.is_too_slow():
                    self._cancellation.cancel(self._too_slow())
                    continue
                if self._is_shared:
                    self._parallelism.judge(now, pace.rate)
                if self._is_worth_joining(now, pace.rate):
                    self._parallelism.begin(now, pace.rate)
                    self._join()
        finally:
            for thread in self._threads:
                thread.join()
        self._cancellation.check()

    def _wait(self) -> bool:
        """Waits a tick; says whether it is over."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._cancellation.reason is not None or (self._partial_file.is_complete and not self._alive),
                TICK,
            )

    def _is_worth_joining(self, now: float, rate: float) -> bool:
        return (
            self._remote_file.is_divisible
            and self._partial_file.is_sniffed
            and 0 < self._alive < (self._allowed if self._is_shared else min(self._allowed, 2))
            and now >= self._join_not_before
            and self._parallelism.may_begin(now, rate)
            and self._partial_file.offers()
            and self._partial_file.left >= WORTH_JOINING * rate
            and rate < FAST_ENOUGH
        )

    def _join(self) -> None:
        """Lets one more connection join, and once one has proved to be welcome, all that may."""
        for _ in range(self._allowed - self._alive if self._is_shared else 1):
            self._start(self._make_connection(), None)

    def _start(self, connection: Connection, stream: Stream | None) -> None:
        with self._changed:
            self._alive += 1
        thread = threading.Thread(target=self._work, args=(connection, stream), name="ingest-connection", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _work(self, connection: Connection, stream: Stream | None) -> None:
        try:
            self._fetch(connection, stream)
        except Exception as error:  # noqa: BLE001  handed on to the thread that waits for the download
            self._end(error)
        finally:
            connection.close()

    def _end(self, error: Exception) -> None:
        self._cancellation.cancel(error)
        with self._changed:
            self._alive -= 1
            self._changed.notify_all()

    def _fetch(self, connection: Connection, stream: Stream | None) -> None:
        fruitless = 0
        while span := self._take(connection, stream):
            if stream is not None and stream.next != span.next:
                stream.close()
                stream = None
            try:
                # Alone, it goes on as far as it can; a piece of its own is for those who share.
                end = self._partial_file.reach(span) if self._alive == 1 else span.end
                stream = stream or self._remote_file.part(connection, span.next, end)
                stream = stream if self._receive(connection, stream, span) else None
                fruitless = 0
            except StageError as error:
                self._cancellation.check()
                fruitless = 0 if stream is not None and stream.next > stream.first else fruitless + 1
                self._partial_file.leave(span)
                if not self._goes_on(error, fruitless):
                    return
                stream = None
                connection.drop()
                if fruitless > 1:
                    connection.cancellation.pause(min(FIRST_PAUSE * 2 ** (fruitless - 2), LONGEST_PAUSE))

    def _take(self, connection: Connection, stream: Stream | None) -> Span | None:
        """The next span to fetch. Where there is none, the connection does not count any more."""
        with self._changed:
            if self._is_shared or connection is self._first:
                span = self._partial_file.take(stream.next if stream is not None else None)
            else:
                span = self._partial_file.take_last()
            if span is None:
                self._alive -= 1
                self._changed.notify_all()
            return span

    def _receive(self, connection: Connection, stream: Stream, span: Span) -> bool:
        """Reads a span, and says whether the stream goes on after it. It may also end before the span does."""
        while block := stream.read():
            self._is_shared = self._is_shared or connection is not self._first
            if not self._partial_file.write(span, block):
                return stream.next != stream.end
            if self._alive > 1 and (
                connection.is_wanted or (self._parallelism.is_over and connection is not self._first)
            ):
                raise Crowded(connection.host)
        if stream.end is None:
            self._partial_file.seal(span.next)
        elif self._remote_file.is_divisible:
            self._partial_file.leave(span)
        else:
            raise incomplete(stream.host)
        return False

    def _goes_on(self, error: StageError, fruitless: int) -> bool:
        """Whether a connection that failed is to try again; if not, it does not count any more.

        Raises the error where it ends the whole download.
        """
        is_refusal = isinstance(error, OtherVersion) or error.code not in PASSING
        with self._changed:
            if error.code in OURS or not self._remote_file.is_divisible:
                raise error
            if self._alive == 1:
                asked_to_wait = (error.retry_after or 0.0) > LONGEST_PAUSE
                if not isinstance(error, Crowded) and (is_refusal or fruitless > RECONNECTS or asked_to_wait):
                    raise error
                return True
            if not fruitless and not is_refusal and not isinstance(error, Crowded):
                return True
            # The others do without it: a server that refuses one connection more is not asked again for as many.
            self._alive -= 1
            if not self._parallelism.is_over:
                self._join_not_before = time.monotonic() + REJOIN_AFTER
            if is_refusal or (error.code == "source_unavailable" and not isinstance(error, Crowded)):
                self._allowed = self._alive
            self._changed.notify_all()
            return False

    def _too_slow(self) -> StageError:
        rate, window = self._settings.source_min_rate, self._settings.source_rate_window
        return StageError(
            "source_too_slow",
            f"{self._remote_file.host} sent less than {rate} bytes a second for {window:.0f} seconds. Retry later.",
        )
