"""The child's side of a confined process: it receives a job, sends lines, and ends with its parent.

    parent ─ one line: the job ────▶ standard input, open as long as the parent lives
           ◀─ lines ─────────────── standard output
           ─ bytes it requested ──▶ standard input

A child is a module that is run by `python -I -m`. Its main() does, in this order: `first_line`, imports,
`pipeline.sandbox.confine.confine`, `watch_life_line`. Only then it opens the untrusted file. For the other side see
pipeline.sandbox.parent. This module imports the standard library only, so that a child starts within about 60 ms.
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
    """Ask the kernel to kill this process when its parent dies, and read the job. Ends the process without a parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    return receive_line()


def watch_life_line() -> None:
    """Start a thread that ends this process when the parent closes its end of standard input.

    Call it after the process is confined, since threads started before would not be confined. The kernel's death
    signal does not suffice: it is sent when the parent's thread ends, and not in every container.
    """
    threading.Thread(target=_await_hang_up, name="life-line", daemon=True).start()


def _await_hang_up() -> None:
    # Wait for the hang-up only, which poll always reports: input from the parent stays for its reader.
    poll = select.poll()
    poll.register(STDIN, 0)
    poll.poll()
    os._exit(1)


def receive_line() -> bytes:
    """Read one line of standard input, and not a byte more. Ends the process if the parent is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += receive(1)
    return bytes(line)


def receive(length: int) -> bytes:
    """Read exactly `length` bytes of standard input. Ends the process if the parent is gone."""
    data = bytearray()
    while len(data) < length:
        piece = os.read(STDIN, length - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return bytes(data)


def say(line: bytes | memoryview) -> None:
    """Write one line, including its newline, to the parent. A child with another protocol may write any bytes."""
    left = memoryview(line)
    while left:
        left = left[os.write(STDOUT, left) :]


def origin(error: Exception) -> str:
    """Return one line for the log: what was raised, and where. A traceback for each bad file would fill the log."""
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    place = f" ({last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno})" if last else ""
    return f"{type(error).__name__}: {error}{place}"


def end() -> NoReturn:
    """End the process with exit code 0 at once: a decoder's threads make an orderly exit slow and sometimes unsafe."""
    # The log lies on a volume that may be full.
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(0)
