"""What is short in this process, and no fault of the dataset that met it: open files and threads."""

from __future__ import annotations

import errno

from pipeline.causes import causes

FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""open(2): too many files are open, in this process or on this machine."""

NO_THREAD = "can't start new thread"
"""CPython's words; it has no class for it."""


def shortage(error: BaseException) -> str:
    """Give what was short where an error came of that, as a clause of a sentence; "" where it did not."""
    for one in causes(error):
        if isinstance(one, OSError) and one.errno in FILES:
            return "too many files are open"
        if isinstance(one, RuntimeError) and NO_THREAD in str(one):
            return "no thread can be started"
    return ""
