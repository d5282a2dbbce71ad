"""What is taken from a process before it opens a stranger's file.

The child calls `confine_process` before libvips is loaded and `confine_libvips` after, both before the
first pixel is decoded: decoding starts threads, and threads inherit what binds the one that starts them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from types import ModuleType

from pipeline import faults

NICENESS = 10
"""Added to the child's: it takes all cores, and whoever answers a request on the same machine goes first."""

OPEN_FILES = 256
"""Descriptors: a build needs about ten, and libvips a few for each thread."""

TRUSTED_LOADERS = (
    "VipsForeignLoadJpeg",
    "VipsForeignLoadPng",
    "VipsForeignLoadWebp",
    "VipsForeignLoadNsgif",
    "VipsForeignLoadTiff",
    "VipsForeignLoadHeif",
)
"""Those that libvips' authors fuzz and trust; all others are blocked."""

KEPT = ("LD_LIBRARY_PATH", "PATH", "TZ", faults.VARIABLE, faults.SIGNAL_VARIABLE)
"""What a child gets of its worker's environment."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


class UnsafeLibvips(Exception):
    """Raised when libvips is older than the least version that may open a stranger's file."""


def environment(scratch: str, threads: int) -> dict[str, str]:
    """Give the whole environment of a child: nothing of the worker's own, which holds passwords.

    Parameters
    ----------
    scratch: the run's folder; libvips spills large decodes there.
    threads: of libvips; 0 for one a core.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "LC_ALL": "C.UTF-8",  # the texts that failures.py reads are English
        "TMPDIR": scratch,
        "VIPS_BLOCK_UNTRUSTED": "1",
        "VIPS_CONCURRENCY": str(threads),
        "VIPS_WARNING": "1",  # any value silences them: a damaged file can make thousands of warnings
    }


def confine_process() -> None:
    """Limit this process: last in line, no core dump, few descriptors, no new privileges, death with its parent."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    least = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, least))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_PDEATHSIG, signal.SIGKILL)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")


def confine_libvips(pyvips: ModuleType, least_version: str) -> None:
    """Leave libvips only its trusted loaders.

    Raises
    ------
    UnsafeLibvips: where it is older than `least_version`, such as "8.18.3".
    """
    version = tuple(pyvips.version(part) for part in range(3))
    if version < tuple(int(part) for part in least_version.split(".")):
        found = ".".join(map(str, version))
        raise UnsafeLibvips(f"libvips {found} is older than {least_version}, which strangers' files need")
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in TRUSTED_LOADERS:
        pyvips.operation_block_set(loader, False)
