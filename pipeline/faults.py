"""Points at which a test may have the process killed, as a power cut would, or frozen."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

VARIABLE = "TILEWRIGHT_FAULT"
"""POINT:FILE. The process that first reaches POINT makes FILE, which tells the test so, and is killed."""

SIGNAL_VARIABLE = "TILEWRIGHT_FAULT_SIGNAL"
"""What the process gets in place of SIGKILL: SIGSTOP freezes it until a test sends SIGCONT."""

_POINT, _, _FILE = os.environ.get(VARIABLE, "").partition(":")
_SIGNAL = signal.Signals[os.environ.get(SIGNAL_VARIABLE, "SIGKILL")]


def reach(point: str) -> None:
    """Kills (or freezes) this process, once, where the environment names this point; otherwise does nothing."""
    if point != _POINT:
        return
    try:
        os.close(os.open(_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    # To this thread: a signal to the process may be another thread's to take, and this one would run on a little.
    signal.pthread_kill(threading.get_ident(), _SIGNAL)


def folders() -> tuple[Path, ...]:
    """The folder that a confined process has to be able to write FILE to; none where the environment names no point."""
    return (Path(_FILE).parent,) if _FILE else ()
