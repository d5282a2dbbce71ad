"""Has the kernel write a growing file out early.

Whoever syncs a file of gigabytes at its end makes every other sync of the volume wait, the database's too.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.25
"""Seconds between two calls for a growing file: at a gigabyte a second the last sync is left a quarter of one."""

_WRITE = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2): start writing what is dirty, and wait for nothing."""


def write_back(descriptor: int) -> None:
    """Starts writing out what of a file is not yet on the disk. A hint: where it cannot be given, nothing happens."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)


@contextmanager
def written_back(path: Path) -> Iterator[None]:
    """Writes a file out while the block makes it. It need not be there at the beginning."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(INTERVAL):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
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
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
