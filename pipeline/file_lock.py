"""A file that one process locks at a time. The kernel releases the lock when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNLOCKABLE = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system without locks for folders."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""A file of Linux with an id of the time since the machine was started."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, or held it last; empty if unknown.

    Parameters
    ----------
    process: the process id.
    boot: the boot id under which the process ran.
    """

    process: str = ""
    boot: str = ""


class Held(Exception):
    """Raised if another process holds the lock. Its argument is the Holder."""


def this_boot() -> str:
    """Return this machine's boot id; empty if there is none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


@contextmanager
def holding_folder(folder: Path) -> Iterator[None]:
    """Lock a folder itself, so that the lock survives changes of its files. Raises Held, OSError.

    If the file system cannot lock folders, as NFS, there is no lock and no error.
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
    """Lock a file, which is made if missing. Yield the previous holder. Raises Held, OSError."""
    # Do not truncate the file on opening: it names the current holder.
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
