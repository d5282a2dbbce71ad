"""A file that one process holds at a time. The kernel lets go of it with the process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNLOCKABLE = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system that has no locks for folders."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux' name for the time between two starts of the machine."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a file, or held it last; empty where nobody knows.

    Parameters
    ----------
    process: its id.
    boot: the machine's start under which it ran.
    """

    process: str = ""
    boot: str = ""


class Held(Exception):
    """Raised when another process holds the file. Its argument is the Holder."""


def this_boot() -> str:
    """The present start of this machine; empty where it has no name."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


@contextmanager
def holding_folder(folder: Path) -> Iterator[None]:
    """Holds a folder itself, whatever becomes of the files in it. Raises Held, OSError.

    Where the file system locks no folders, as NFS, nothing is held.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(Holder()) from None
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
        yield
    finally:
        os.close(descriptor)


@contextmanager
def holding(path: Path) -> Iterator[Holder]:
    """Holds a file, which is made where it is missing; gives who held it before. Raises Held, OSError."""
    # Not truncated by opening: what is in there names the present holder.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        words = os.read(descriptor, 200).decode(errors="replace").split()
        last = Holder(*words[:2])
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(last) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {this_boot()}\n".encode(), 0)
        yield last
    finally:
        os.close(descriptor)
