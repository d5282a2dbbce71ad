"""Let the kernel write a growing file to the disk early.

A sync of gigabytes at the end of a file would delay every other sync on the volume, including the database's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.25
"""Seconds between two calls for a growing file. At a gigabyte a second, a quarter of one is left to the last sync."""

PIECE = 4 * 1024**2
"""Bytes synced at once. They take a slow disk about ten milliseconds, which another sync may have to wait."""

_WAIT, _WRITE, _WAIT_AFTER = 1, 2, 4
"""Flags of sync_file_range(2): wait for writes in progress, start to write dirty pages, wait for those."""


NO_SUCH_CALL = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ESPIPE)
"""Errors of a file system or sandbox that does not support the call. Lost bytes cause other errors."""


def write_back(descriptor: int) -> None:
    """Start to write a file's dirty pages to the disk, if the system supports that.

    This does not wait, so a write error stays with the file until `sync` finds it.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)


def sync(descriptor: int) -> None:
    """Write a file to the disk piece by piece, so that the final fsync delays other syncs only briefly.

    Raises OSError if bytes are lost. The kernel reports that once: another fsync, on this descriptor or a new one,
    succeeds. So the file must not be used after an error.
    """
    _settle(descriptor)
    os.fsync(descriptor)


def _settle(descriptor: int) -> None:
    if _sync_file_range is None:
        return
    for offset in range(0, os.fstat(descriptor).st_size, PIECE):
        if _sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(PIECE), _WAIT | _WRITE | _WAIT_AFTER):
            error = ctypes.get_errno()
            if error in NO_SUCH_CALL:
                return
            # The wait consumed the file's write error: fsync would not report it again.
            raise OSError(error, os.strerror(error))


@contextmanager
def written_back(path: Path) -> Iterator[None]:
    """Write a file to the disk while the block makes it. The file need not exist at the beginning."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(INTERVAL):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue  # The file does not exist yet, or cannot be opened: publishing it will report the error.
            try:
                write_back(descriptor)
            finally:
                os.close(descriptor)

    thread = threading.Thread(target=follow, name="write-back", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# All C libraries of Linux have it; other systems do not.
_sync_file_range = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
