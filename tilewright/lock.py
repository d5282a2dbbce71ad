"""The exclusive lock on a data directory: two stacks on one would end each other's runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import TilewrightError

LOCK_NAME = "tilewright.lock"


class DirectoryInUse(TilewrightError):
    """Raised when another process holds the data directory."""


class DirectoryUnusable(TilewrightError):
    """Raised when the data directory cannot be made or written to."""


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Holds a data directory, which is made where it is missing.

    The kernel drops the lock with the process, however that ends, so that no stale lock is ever met.

    Raises DirectoryInUse, which names the directory and its holder, and DirectoryUnusable.
    """
    path = directory / LOCK_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not truncated by opening: what is in there names the present holder.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DirectoryUnusable(
            f"The data directory {directory} cannot be written to ({error.strerror}). Name another one with --data."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise DirectoryInUse(
                f"The data directory {directory} is in use by process {holder}. "
                "Stop that one, or name another directory with --data."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
