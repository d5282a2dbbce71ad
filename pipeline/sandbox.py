"""What is taken from a process before it opens a stranger's file.

A kind of child calls `confine` once, after it has imported all that it needs and before a decoder starts its first
thread: what binds a process binds the calling thread and those that it starts later, and no other.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import faults

NICENESS = 10
"""Added to the child's: it takes all cores, and whoever answers a request on the same machine goes first."""

OPEN_FILES = 256
"""Descriptors: a build needs about ten, and libvips a few for each thread."""

KEPT = ("LD_LIBRARY_PATH", "PATH", "TZ", faults.VARIABLE, faults.SIGNAL_VARIABLE)
"""What a child gets of its worker's environment."""

_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a confined process may still do.

    Parameters
    ----------
    read: files and folders that it may read, with all in them.
    write: folders that it may change.
    memory: bytes of address space; None for no limit.
    cpu: seconds of all its threads' work together; None for no limit.
    file: bytes of the largest file it may write; None for no limit.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory: int | None = None
    cpu: int | None = None
    file: int | None = None


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Give the whole environment of a child: nothing of the worker's own, which holds passwords.

    Parameters
    ----------
    folder: for the child's temporary files.
    more: variables of this kind of child, such as pipeline.libvips.environment.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(folder)} | dict(more)


def confine(allowance: Allowance) -> None:
    """Limit this process: last in line, no core dump, few descriptors, no new privileges, and what is allowed it."""
    os.nice(NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    for kind, value in (
        (resource.RLIMIT_AS, allowance.memory),
        (resource.RLIMIT_CPU, allowance.cpu),
        (resource.RLIMIT_FSIZE, allowance.file),
    ):
        if value is not None:
            _limit(kind, value)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (least, least))
