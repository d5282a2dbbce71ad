"""What is short in this process, and no fault of the dataset that met it: open files and threads."""

from __future__ import annotations

import errno
from collections.abc import Iterator

FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""open(2): too many files are open, in this process or on this machine."""

NO_THREAD = "can't start new thread"
"""CPython's words; it has no class for it."""


def shortage(error: BaseException) -> str:
    """Give what was short where an error came of that, as a clause of a sentence; "" where it did not.

    Libraries wrap the kernel's error in their own, so that all that led to an error is looked at.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in FILES:
            return "too many files are open"
        if isinstance(one, RuntimeError) and NO_THREAD in str(one):
            return "no thread can be started"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # urllib3 and requests carry what they wrap as `reason` or as an argument.
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
