"""Download a file over one connection, or over several if that is faster.

The first connection's answer begins at the first missing byte, and is read at once. If the server supports ranges and
the rest would take a while, a second connection joins, far from the first one. Once it has received something, the
others join. Each takes the next missing piece, or half of another connection's remaining span. When a connection
breaks, the others take its remaining span.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ingest.download.byte_ranges import UNBOUNDED, Span
from ingest.download.pace import MinimumRate
from ingest.download.parallelism import Parallelism
from ingest.download.partial_file import PartialFile
from ingest.download.remote_file import OtherVersion, RemoteFile
from ingest.download.stream import Stream
from ingest.http import Cancellation, Connection, Crowded, incomplete
from ingest.settings import IngestSettings
from pipeline.errors import StageError

TICK = 0.1
"""Seconds between two checks of the progress; several fit into JOIN_AFTER."""

WORTH_JOINING = 1.0
"""Seconds. If the rest takes less, no connection joins: connecting would cost what it gains."""

FAST_ENOUGH = 200 * 1024**2
"""Bytes a second. At this rate the limit is no longer the network but the hashing thread or the disk."""

LEAST_PIECE = 1024**2
"""Smallest piece in bytes that is worth a request: at 100 MB/s and 10 ms latency, half of its time is waiting."""

LARGEST_PIECE = 64 * 1024**2
"""Largest piece in bytes. What four connections fetch at the end is soon hashed, and the cost of requests is small."""

PIECES_EACH = 4
"""Pieces per connection in a medium-sized file, so that a slow connection delays little."""

RECONNECTS = 4
"""Connections in a row that may break without receiving a byte."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before the second of these reconnects, and the maximum; the pause doubles each time."""

REJOIN_AFTER = 10.0
"""Seconds until another connection may join after an additional one broke."""

PASSING = frozenset(
    {"source_incomplete", "source_timeout", "source_unreachable", "source_unresolvable", "source_unavailable"}
)
"""Codes of failures that a new connection may overcome."""

OURS = frozenset({"source_too_large", "not_an_image", "unsupported_format", "out_of_disk"})
"""Codes of failures that end the download: a new connection cannot help."""


def piece(remote_file: RemoteFile, connections: int) -> int:
    """Return the maximum bytes that one connection takes at once."""
    if not remote_file.is_divisible or remote_file.length is None:
        return UNBOUNDED
    return min(max(remote_file.length // (connections * PIECES_EACH), LEAST_PIECE), LARGEST_PIECE)


class Transfer:
    """The connections of one download.

    Parameters
    ----------
    cancellation: cancels the whole download.
    make_connection: makes another connection, which does not wait for room at its host.
    waiting: called regularly while bytes arrive that are there already.
    """

    def __init__(
        self,
        remote_file: RemoteFile,
        partial_file: PartialFile,
        settings: IngestSettings,
        cancellation: Cancellation,
        make_connection: Callable[[], Connection],
        waiting: Callable[[], None],
    ) -> None:
        self._remote_file = remote_file
        self._partial_file = partial_file
        self._settings = settings
        self._cancellation = cancellation
        self._make_connection = make_connection
        self._changed = partial_file.changed
        self._alive = 0
        self._allowed = settings.source_connections
        self._skipped = 0
        self._waiting = waiting
        self._join_not_before = 0.0
        self._first: Connection | None = None
        self._is_shared = False
        self._parallelism = Parallelism(0.0)
        self._threads: list[threading.Thread] = []

    def run(self, connection: Connection, stream: Stream) -> None:
        """Download all missing bytes. Raises StageError, StorageError, or the reason of a cancellation."""
        began = time.monotonic()
        pace = MinimumRate(began, self._settings.source_min_rate, self._settings.source_rate_window)
        self._parallelism = Parallelism(began)
        self._first = connection
        self._start(connection, stream)
        try:
            while not self._wait():
                now = time.monotonic()
                pace.note(now, self._partial_file.received + self._skipped)
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
        """Wait a tick. Return whether the download has ended."""
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
        """Start one additional connection, or all that are allowed once the first of them has received something."""
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
        except Exception as error:  # noqa: BLE001  raised again in the thread that waits for the download
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
            if stream is not None and stream.next != span.next and not (stream.unranged and stream.next < span.next):
                stream.close()
                stream = None
            began = span.next
            try:
                # A single connection requests the whole gap. Only connections that share take pieces.
                is_alone = self._alive == 1
                end = self._partial_file.reach(span) if is_alone else span.end
                stream = stream or self._remote_file.part(connection, span.next, end, or_whole=is_alone)
                self._skip(stream, span.next)
                stream = stream if self._receive(connection, stream, span) else None
                fruitless = 0
            except StageError as error:
                self._cancellation.check()
                # Bytes that are there already are no gain, or a server could send them for ever.
                fruitless = 0 if stream is not None and stream.next > _begins(stream, began) else fruitless + 1
                self._partial_file.leave(span)
                if not self._goes_on(error, fruitless):
                    return
                stream = None
                connection.drop()
                if fruitless > 1:
                    connection.cancellation.pause(min(FIRST_PAUSE * 2 ** (fruitless - 2), LONGEST_PAUSE))

    def _take(self, connection: Connection, stream: Stream | None) -> Span | None:
        """Return the next span to fetch. If there is none, the connection leaves the count of active ones."""
        with self._changed:
            if self._is_shared or connection is self._first:
                span = self._partial_file.take(stream.next if stream is not None else None)
            else:
                span = self._partial_file.take_last()
            if span is None:
                self._alive -= 1
                self._changed.notify_all()
            return span

    def _skip(self, stream: Stream, first: int) -> None:
        """Receive and drop the bytes before `first`, which are there already."""
        if stream.unranged:
            self._allowed = 1  # other connections would be refused
        while stream.next < first and (block := stream.read(first - stream.next)):
            self._skipped += len(block)
            self._waiting()

    def _receive(self, connection: Connection, stream: Stream, span: Span) -> bool:
        """Receive a span from a stream. Return whether the stream goes on after it; it may also end before the span."""
        # At most the span, because an unranged body goes on with bytes that are there already, and has to stop there.
        while block := stream.read(span.left if stream.unranged else None):
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
        """Return whether a failed connection should try again. If not, it leaves the count of active ones.

        Raises the error if it ends the whole download.
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
            # The others go on without it. If the server refused this one, the download never opens as many again.
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


def _begins(stream: Stream, wanted: int) -> int:
    """Return the byte after which a stream has brought something, if `wanted` is the first missing byte."""
    return max(stream.first, wanted) if stream.unranged else stream.first
