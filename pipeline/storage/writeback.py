"""Has the kernel write a growing file out early.

Whoever syncs a file of gigabytes at its end makes every other sync of the volume wait, the database's too.
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
"""Seconds between two calls for a growing file: at a gigabyte a second the last sync is left a quarter of one."""

PIECE = 4 * 1024**2
"""Bytes: some ten milliseconds of a slow disk, for which another's sync may have to wait."""

_WAIT, _WRITE, _WAIT_AFTER = 1, 2, 4
"""Flags of sync_file_range(2): wait for what is being written, start writing what is dirty, wait for that."""


NO_SUCH_CALL = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ESPIPE)
"""Errors by which a file system, or a sandbox, says that it does not know the call. Lost bytes have others."""


def write_back(descriptor: int) -> None:
    """Starts writing out what of a file is not yet on the disk. A hint: where it cannot be given, nothing happens.

    It waits for nothing, so that an error of writing stays with the file for `sync` to find.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)


def sync(descriptor: int) -> None:
    """Has a file on the disk: its bytes piece by piece, so that the fsync behind them has little left to hold up.

    Raises OSError where bytes are lost. The kernel tells that once: whoever asks again, by this descriptor or a new
    one, hears that all is well. So the file must not be used any more.
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
            # The wait has taken the file's write error, and fsync would not find it any more.
            raise OSError(error, os.strerror(error))


@contextmanager
def written_back(path: Path) -> Iterator[None]:
    """Writes a file out while the block makes it. It need not be there at the beginning."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(INTERVAL):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue  # Not there yet, or out of reach for now: whoever publishes the file hears of that.
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


# Linux has it, in each of its C libraries; other systems do not.
_sync_file_range = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
