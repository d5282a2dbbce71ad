"""What a confined child process does with its parent: the life line, what it is told, what it says.

    parent ─ one line: the job ─▶ standard input, open for as long as the parent lives
           ◀─ lines ──────────── standard output
           ─ what it asks for ─▶ standard input

A kind of child is a module that is run by `python -I -m`. Its main() does, in this order: `first_line`, imports,
`pipeline.sandbox.confine.confine`, `watch_life_line`, and only then opens what a stranger sent. See
pipeline.sandbox.parent for the other side. Imports the standard library only: a child starts within some 60 ms.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

STDIN, STDOUT = 0, 1

_PR_SET_PDEATHSIG = 1


def first_line() -> bytes:
    """Ask to die with the parent, and read the job that it gives; ends the process where there is no parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    return receive_line()


def watch_life_line() -> None:
    """End this process, from a thread, when standard input's other end is gone.

    To be called after the process is confined: what binds a process later would not bind a thread that is older.
    The death signal alone would not do: the kernel sends it when the parent's thread ends, and not in every container.
    """
    threading.Thread(target=_await_hang_up, name="life-line", daemon=True).start()


def _await_hang_up() -> None:
    # No event but the hang-up, which is always told: what the parent sends stays for whoever asked for it.
    poll = select.poll()
    poll.register(STDIN, 0)
    poll.poll()
    os._exit(1)


def receive_line() -> bytes:
    """Read one line of standard input, and not a byte more; ends the process where the parent is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += receive(1)
    return bytes(line)


def receive(length: int) -> bytes:
    """Read exactly `length` bytes of standard input; ends the process where the parent is gone."""
    data = bytearray()
    while len(data) < length:
        piece = os.read(STDIN, length - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return bytes(data)


def say(line: bytes) -> None:
    """Write one line, its newline included, to the parent."""
    while line:
        line = line[os.write(STDOUT, line) :]


def end() -> NoReturn:
    """End the process well, but not in order: a decoder's threads make that slow and, at times, unsafe."""
    # Its log lies on the volume that it may have found full.
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(0)
