"""The memory, descriptors and connections that this process may use."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")

MEMBERSHIP = Path("/proc/self/cgroup")
"""A file of Linux with a line for each hierarchy, `number:controllers:path`. The number is 0 for version 2."""


def memory_bytes(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the machine's memory, or the lowest limit of its control groups (a container's) if that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (_limit(path) for path in _limit_files(groups, membership))
    return min((limit for limit in limits if limit is not None and limit < machine), default=machine)


DESCRIPTORS_OF_ITS_OWN = 400
"""Descriptors that a whole stack in one process needs for files, sockets and pipes, besides connections of clients."""

MOST_CONNECTIONS = 10_000
"""Most connections of clients, however many descriptors there are: each takes a few kilobytes."""


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open files to the hard limit, and return it.

    Shells and service managers set 1,024 for programs that use select(2). Tilewright does not use it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def keep_what_was_loaded() -> None:
    """Exempt all objects that exist by now from garbage collection. Call it once, when a service is ready.

    Modules and their tables stay for the process's life. A full collection looks at each of their half a million
    objects, which takes some 0.15 seconds, and a request's body of 256 KiB can cause one.
    """
    gc.collect()
    gc.freeze()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def most_connections() -> int:
    """Return how many connections of clients this process may have, so that enough descriptors remain for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 4, min(MOST_CONNECTIONS, soft - DESCRIPTORS_OF_ITS_OWN))


def _limit_files(groups: Path, membership: Path) -> list[Path]:
    """Return every file that may contain a limit on this process. In a container, its own group is the root."""
    found = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = root / path.strip("/")
        found += [folder / name for folder in (place, *place.parents) if folder == root or root in folder.parents]
    return found


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
