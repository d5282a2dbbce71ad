"""The file that a download writes, with one or several connections: it is counted, sniffed and hashed on the way."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.download.byte_ranges import ByteRanges, Range, Span
from ingest.download.checksums import Algorithm
from ingest.download.digest import Digest
from ingest.http import too_large
from ingest.sniff import SNIFF_LENGTH, Sniffer
from pipeline.errors import DATASET_CODES, StageError, StorageError

ROOM_INTERVAL = 64 * 1024**2
"""Bytes between two checks of the free space: sixteen checks a second at 1 GB/s, and far below any sensible reserve."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far, and the total if the server declared it. By one thread at a time."""

Room = Callable[[int], None]
"""Raises StageError("out_of_disk") if the given number of bytes does not fit."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class PartialFile:
    """Writes blocks at any position of the file. Thread-safe.

    Attributes
    ----------
    changed: lock for the whole state; notified when the file is complete.
    count: number of bytes written.
    received: how many of them came from connections.

    Parameters
    ----------
    path: the file to write; an existing file is overwritten.
    host: the server's name, for error messages.
    length: length of the file in bytes; None if the server did not declare it.
    page_advice: what to do if the file is a web page or text; "" for the usual advice.
    held: ranges that no connection has to fetch, because `copied` will report them.
    piece, least: as in ByteRanges.
    max_bytes: maximum size of the file.
    algorithms: the hashes to compute.
    room: checks that the remaining bytes fit on the disk.
    progress: called after each block with the bytes so far and in total.
    kept: called with the number of bytes that come from an earlier run.

    Raises StageError("out_of_disk") if the file does not fit: at once if `length` is known.
    """

    def __init__(
        self,
        path: Path,
        host: str,
        length: int | None,
        *,
        page_advice: str = "",
        held: Iterable[Range],
        piece: int,
        least: int,
        max_bytes: int,
        algorithms: Iterable[Algorithm],
        room: Room,
        progress: Progress,
        kept: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.changed = threading.Condition()
        self.received = 0
        self.count = 0
        self._path = path
        self._host = host
        held = tuple(held)
        self._holds_beginning = any(first == 0 and end >= SNIFF_LENGTH for first, end in held)
        self._ranges = ByteRanges(length, held, piece=piece, least=least)
        self._max_bytes = max_bytes
        self._sniffer = Sniffer(host, page_advice)
        self._room = room
        self._room_due = ROOM_INTERVAL
        self._progress = progress
        self._kept = kept
        room(ROOM_INTERVAL if length is None else length)
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._digest = Digest(self._descriptor, algorithms)

    def __enter__(self) -> Self:
        self._digest.__enter__()
        self._kept(0)
        self._progress(0, self._ranges.length)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._digest.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the file, once no thread writes to it any more. Raises the same errors as `write`."""
        with storage_errors(self._path):
            os.close(self._descriptor)

    @property
    def descriptor(self) -> int:
        """The file's descriptor, for copying into it."""
        return self._descriptor

    @property
    def is_sniffed(self) -> bool:
        """Whether the beginning was checked and may be an image's, in this run or in the earlier one."""
        return self._sniffer.is_done or self._holds_beginning

    @property
    def is_complete(self) -> bool:
        """Whether every byte is written."""
        with self.changed:
            return self._ranges.is_complete

    @property
    def left(self) -> int:
        """Number of bytes that connections still have to fetch."""
        with self.changed:
            return self._ranges.left

    @property
    def there(self) -> tuple[Range, ...]:
        """The written ranges."""
        with self.changed:
            return self._ranges.there

    def offers(self) -> bool:
        """See ByteRanges.offers."""
        with self.changed:
            return self._ranges.offers()

    def take(self, at: int | None = None) -> Span | None:
        """See ByteRanges.take."""
        with self.changed:
            return self._ranges.take(at)

    def take_last(self) -> Span | None:
        """See ByteRanges.take_last."""
        with self.changed:
            return self._ranges.take_last()

    def reach(self, span: Span) -> int:
        """See ByteRanges.reach."""
        with self.changed:
            return self._ranges.reach(span)

    def leave(self, span: Span) -> None:
        """See ByteRanges.leave."""
        with self.changed:
            self._ranges.leave(span)

    def write(self, span: Span, block: bytes) -> bool:
        """Write the next bytes of a span, and ignore those beyond its end. Return whether the span goes on.

        Raises StageError: "source_too_large", "not_an_image", "unsupported_format", "out_of_disk"; StorageError.
        """
        with self.changed:
            first = span.next
            own = memoryview(block)[: self._ranges.claim(span, len(block))]
            if self.count + len(own) > self._max_bytes:
                raise too_large(self._host, self._max_bytes)
        self._sniffer.take(first, own)
        self._ask_for_room()
        with storage_errors(self._path):
            self._write(first, own)
        with self.changed:
            self.received += len(own)
            self._arrive(first, own)
            return span.left > 0

    def copied(self, first: int, end: int) -> None:
        """Note that a held range was copied into the file."""
        with self.changed:
            self._ranges.arrive(first, end - first)
            self.count += end - first
            self._digest.grow(self._ranges.prefix, first, b"")
            self._kept(self.count - self.received)
            self._tell()

    def seal(self, length: int) -> None:
        """Set the file's length, which was unknown until its end."""
        with self.changed:
            self._ranges.seal(length)
            self.changed.notify_all()

    def finish(self) -> None:
        """Check the complete file. Raises StageError: "not_an_image", "unsupported_format"."""
        if not self.count:
            advice = DATASET_CODES["not_an_image"].advice
            raise StageError("not_an_image", f"{self._host} sent an empty file. {advice}")
        if not self._sniffer.is_done:
            # An earlier run sniffed the beginning, or the file is shorter than SNIFF_LENGTH.
            with storage_errors(self._path):
                self._sniffer.take(0, os.pread(self._descriptor, 4096, 0))
            self._sniffer.finish()

    def digests(self) -> dict[Algorithm, str]:
        """Return the hashes in hex. Call this only after the `with` block."""
        with storage_errors(self._path):
            return self._digest.digests()

    def _ask_for_room(self) -> None:
        with self.changed:
            if self.received < self._room_due:
                return
            self._room_due = self.received + ROOM_INTERVAL
            length = self._ranges.length
            needed = ROOM_INTERVAL if length is None else max(0, length - self.count)
        self._room(needed)

    def _arrive(self, first: int, own: memoryview) -> None:
        self._ranges.arrive(first, len(own))
        self.count += len(own)
        self._digest.grow(self._ranges.prefix, first, own)
        self._tell()

    def _tell(self) -> None:
        self._progress(self.count, self._ranges.length)
        if self._ranges.is_complete:
            self.changed.notify_all()

    def _write(self, first: int, block: memoryview) -> None:
        while block:
            written = os.pwrite(self._descriptor, block, first)
            first, block = first + written, block[written:]


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into StageError("out_of_disk") or StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StageError(
                "out_of_disk", "The storage is too full for this file. Free space or enlarge the volume, then retry."
            ) from error
        raise StorageError(f"{path}: {error.strerror or error}") from error
