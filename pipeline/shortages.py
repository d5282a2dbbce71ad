"""Recognize errors caused by a lack of open files or threads in this process, which are not the dataset's fault."""

from __future__ import annotations

import errno

from pipeline.causes import causes

FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of open(2): too many files are open, in this process or on this machine."""

NO_THREAD = "can't start new thread"
"""CPython's message; it has no class for this error."""


def shortage(error: BaseException) -> str:
    """Return what is lacking if that caused an error, as a clause of a sentence; else ""."""
    for one in causes(error):
        if isinstance(one, OSError) and one.errno in FILES:
            return "too many files are open"
        if isinstance(one, RuntimeError) and NO_THREAD in str(one):
            return "no thread can be started"
    return ""
