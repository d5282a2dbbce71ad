"""A body as it arrives: counted, hashed, sniffed and written."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.answer import too_large
from ingest.digest import Digest
from ingest.sniff import SNIFF_LENGTH, is_text, is_web_page
from pipeline.errors import DATASET_CODES, StageError, StorageError

BLOCK = 256 * 1024
"""Bytes asked of the socket at once: 64 KiB and 1 MiB were both slower on loopback."""

ROOM_INTERVAL = 64 * 1024**2
"""Bytes between two looks at what is free: at 1 GB/s sixteen a second, and far below any sensible reserve."""

Room = Callable[[int], None]
"""Raises StageError("out_of_disk") where so many more bytes do not fit."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class Body:
    """Takes blocks in order and keeps none of them.

    Parameters
    ----------
    path: the file to write.
    host: for the sentences.
    total: bytes to come, where the server declared them.
    max_bytes: bytes accepted in all.
    room: is asked whether what is still to come fits.

    Raises StageError("out_of_disk") where the file cannot be written for want of room: at once, where `total` tells.
    """

    def __init__(self, path: Path, host: str, total: int | None, max_bytes: int, room: Room) -> None:
        self.bytes = 0
        self._path = path
        self._host = host
        self._total = total
        self._max_bytes = max_bytes
        self._head: bytes | None = b""
        self._digest = Digest()
        self._room = room
        self._room_due = ROOM_INTERVAL
        room(ROOM_INTERVAL if total is None else total)
        with _storage_errors(path):
            self._file = FileIO(path, "wb")

    def __enter__(self) -> Self:
        self._digest.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._digest.__exit__(kind, error, trace)
        self._file.close()

    @property
    def sha256(self) -> str:
        """The hash of all that was taken, in hex. Only after the block has ended."""
        return self._digest.hexdigest()

    def take(self, block: bytes) -> None:
        """Takes the next bytes.

        Raises StageError: "source_too_large", "not_an_image", "out_of_disk".
        """
        self.bytes += len(block)
        if self.bytes > self._max_bytes:
            raise too_large(self._host, self._max_bytes)
        if self._head is not None:
            self._head += block[:SNIFF_LENGTH]
            self._sniff(self._head, complete=len(self._head) >= SNIFF_LENGTH)
        if self.bytes >= self._room_due:
            self._room_due = self.bytes + ROOM_INTERVAL
            self._room(ROOM_INTERVAL if self._total is None else max(0, self._total - self.bytes))
        self._digest.update(block)
        self._write(block)

    def finish(self) -> None:
        """Judges the whole.

        Raises StageError: "source_incomplete", "not_an_image".
        """
        if self._total is not None and self.bytes != self._total:
            raise incomplete(self._host)
        if self.bytes == 0:
            raise StageError("not_an_image", f"{self._host} sent an empty file. {DATASET_CODES['not_an_image'].advice}")
        if self._head is not None:
            self._sniff(self._head, complete=True)

    def _sniff(self, head: bytes, *, complete: bool) -> None:
        advice = DATASET_CODES["not_an_image"].advice
        if is_web_page(head):
            raise StageError("not_an_image", f"{self._host} sent a web page, not an image. {advice}")
        if complete:
            self._head = None
            if is_text(head):
                raise StageError("not_an_image", f"{self._host} sent text, not an image. {advice}")

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        with _storage_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]


def incomplete(host: str) -> StageError:
    """The refusal of a body that ended too early."""
    return StageError(
        "source_incomplete",
        f"The connection to {host} ended before the whole file had arrived. "
        "Retry; if it happens again, check the server.",
    )


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _out_of_disk() from error
        raise StorageError(f"{path}: {error.strerror or error}") from error


def _out_of_disk() -> StageError:
    return StageError(
        "out_of_disk", "The storage is too full for this file. Free space or enlarge the volume, then retry."
    )
