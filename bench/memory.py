"""Measure the peak memory of a process and its children, as the kernel counts it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

INTERVAL = 0.05
"""Seconds between two searches for children. The kernel keeps each peak as long as its process lives."""


class Peaks:
    """Highest resident sizes seen, in bytes, by the name of the process."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def note(self, pid: int, name: str) -> None:
        with suppress(OSError):  # the process has just ended
            status = Path(f"/proc/{pid}/status").read_text()
            peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            if peak is not None:
                self.of[name] = max(self.of.get(name, 0), int(peak[1]) * 1024)


@contextmanager
def watched(pid: int, name: str, child_name: str) -> Iterator[Peaks]:
    """Watch a process and its children during the block."""
    peaks, over = Peaks(), threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            peaks.note(pid, name)
            for child in _children(pid):
                peaks.note(child, child_name)

    thread = threading.Thread(target=look, name="memory")
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found.extend(int(word) for word in (task / "children").read_text().split())
    return found
