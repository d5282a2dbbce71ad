"""What this process may use of its machine."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")

MEMBERSHIP = Path("/proc/self/cgroup")
"""Linux: a line a hierarchy, `number:controllers:path`; the number is 0 for version 2."""


def memory_bytes(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Give the machine's memory, or the least limit of the control groups (a container's) where that is lower."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (_limit(path) for path in _limit_files(groups, membership))
    return min((limit for limit in limits if limit is not None and limit < machine), default=machine)


def _limit_files(groups: Path, membership: Path) -> list[Path]:
    """Every place where a limit on this process may stand; in a container its own group is the root."""
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
