"""Waiting for what no event tells: it happens in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 90.0
"""Seconds for what has to happen in other processes: only a broken test takes that long."""

LOOK = 0.02
"""Seconds between two looks at what no event tells."""


def until(condition: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {limit:.0f} seconds"
        time.sleep(LOOK)
