"""The file that a download fills: counted, sniffed, hashed and written, by one connection or by several."""

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
"""Bytes between two looks at what is free: at 1 GB/s sixteen a second, and far below any sensible reserve."""

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there, and those to come in all where the server says so. By one thread at a time."""

Room = Callable[[int], None]
"""Raises StageError("out_of_disk") where so many more bytes do not fit."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class PartialFile:
    """Takes blocks for any place of the file and keeps none of them. Its methods may be called from any thread.

    Attributes
    ----------
    changed: guards all of it; notified when the file is complete.
    count: bytes that are there.
    received: bytes of them that connections have brought.

    Parameters
    ----------
    path: the file to write; what is there is overwritten.
    host: for the sentences.
    length: bytes of the file, where the server declared them.
    held: ranges that `copied` will tell of, and no connection is to fetch.
    piece, least: as ByteRanges has them.
    max_bytes: bytes accepted in all.
    algorithms: of the hashes to make.
    room: is asked whether what is still to come fits.
    progress: told how far it is.
    kept: told how many of those bytes an earlier run had brought.

    Raises StageError("out_of_disk") where the file cannot be written for want of room: at once, where `length` tells.
    """

    def __init__(
        self,
        path: Path,
        host: str,
        length: int | None,
        *,
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
        self._sniffer = Sniffer(host)
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
        """Closes the file; to be called when nothing writes to it any more. Raises as `write`."""
        with storage_errors(self._path):
            os.close(self._descriptor)

    @property
    def descriptor(self) -> int:
        """Of the file, for whoever copies into it."""
        return self._descriptor

    @property
    def is_sniffed(self) -> bool:
        """Whether the beginning has been seen, and may be that of an image: by this run, or by the one that left it."""
        return self._sniffer.is_done or self._holds_beginning

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        with self.changed:
            return self._ranges.is_complete

    @property
    def left(self) -> int:
        """Bytes that connections have still to bring."""
        with self.changed:
            return self._ranges.left

    @property
    def there(self) -> tuple[Range, ...]:
        """The ranges that are written."""
        with self.changed:
            return self._ranges.there

    def offers(self) -> bool:
        """As ByteRanges.offers."""
        with self.changed:
            return self._ranges.offers()

    def take(self, at: int | None = None) -> Span | None:
        """As ByteRanges.take."""
        with self.changed:
            return self._ranges.take(at)

    def take_last(self) -> Span | None:
        """As ByteRanges.take_last."""
        with self.changed:
            return self._ranges.take_last()

    def reach(self, span: Span) -> int:
        """As ByteRanges.reach."""
        with self.changed:
            return self._ranges.reach(span)

    def leave(self, span: Span) -> None:
        """As ByteRanges.leave."""
        with self.changed:
            self._ranges.leave(span)

    def write(self, span: Span, block: bytes) -> bool:
        """Writes the next bytes of a span, as far as they are its own. Says whether the span goes on.

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
        """A held range is in the file."""
        with self.changed:
            self._ranges.arrive(first, end - first)
            self.count += end - first
            self._digest.grow(self._ranges.prefix, first, b"")
            self._kept(self.count - self.received)
            self._tell()

    def seal(self, length: int) -> None:
        """The file has turned out to end here."""
        with self.changed:
            self._ranges.seal(length)
            self.changed.notify_all()

    def finish(self) -> None:
        """Judges the whole. Raises StageError: "not_an_image", "unsupported_format"."""
        if not self.count:
            advice = DATASET_CODES["not_an_image"].advice
            raise StageError("not_an_image", f"{self._host} sent an empty file. {advice}")
        if not self._sniffer.is_done:
            # The beginning was sniffed by an earlier run, or is shorter than what is sniffed.
            with storage_errors(self._path):
                self._sniffer.take(0, os.pread(self._descriptor, 4096, 0))
            self._sniffer.finish()

    def digests(self) -> dict[Algorithm, str]:
        """The hashes in hex. Only after the block has ended."""
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
    """Turns what the system says of a file into "out_of_disk" or StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StageError(
                "out_of_disk", "The storage is too full for this file. Free space or enlarge the volume, then retry."
            ) from error
        raise StorageError(f"{path}: {error.strerror or error}") from error
