"""Starts a confined child process, watches it, and says what became of it.

The child is a session and process group of its own: a kill reaches the group, whatever a decoder is doing, and nothing
else. Its standard input stays open as its life line, so that it ends with this process, too. See
pipeline.sandbox.child for the other side.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from pipeline.errors import StageError

LOG = "child.log"
"""The child's standard error, in its folder."""

LINE_LIMIT = 1 << 16
"""Bytes of a line: a thousand times what a report needs, and an end to what a broken child can make us hold."""

MOST_LINES = 1000
"""Of a child in a WATCH_INTERVAL: a hundred times what one says that does its work. Each costs this process some
microseconds, and where it is the whole stack, the tiles that it serves meanwhile."""

WATCH_INTERVAL = 0.5
"""Seconds between two looks at what a child has done besides talking: a disk takes half a gigabyte in that time."""

LOG_TAIL = 2000
"""Bytes of the child's standard error that are kept when it has ended."""

TICK = 0.5
"""Seconds by which the kernel's count of a process's work may lag behind the limit that it was killed for."""

OUT_OF_MEMORY = (
    "cannot allocate memory",
    "failed to allocate",  # GLib, which then ends the process by SIGTRAP or SIGABRT
    "out of memory",
    "bad_alloc",  # C++, which then aborts
    "error creating thread",  # GLib, where no room is left for a thread's stack
)
"""What a process says, in lower case, before it ends itself for want of memory."""


def command(module: str) -> tuple[str, ...]:
    """How a kind of child is started. Isolated: no PYTHON… variable, no user's packages, no module from the folder."""
    return (sys.executable, "-I", "-m", module)


class Child:
    """One started child; as a context it leaves no process of its group behind.

    Parameters
    ----------
    command: what to start, such as command("tiler.child").
    job: the line it is told first, its newline included.
    folder: an existing folder, where it starts and its standard error is kept.
    environment: all of its environment.
    total: seconds it may take; None where something else holds that limit.
    silence: seconds it may go without a line; None likewise.
    watch: called about every WATCH_INTERVAL while `lines` is read, whether the child talks or not; what it raises is
        raised there.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        job: bytes,
        *,
        folder: Path,
        environment: Mapping[str, str],
        total: float | None = None,
        silence: float | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = folder / LOG
        self._total, self._silence = total, silence
        self._ends_at = None if total is None else time.monotonic() + total
        self._watch, self._watch_at = watch, time.monotonic()
        self._said = 0
        # Guards the process id: it must not be signalled once it is reaped and may be another's.
        self._lock = threading.Lock()
        self._reaped = False
        self._worked = 0.0
        self._used_up = False
        self.exit_code = 0
        self.last_words = ""
        with self._log.open("wb") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        assert self._process.stdin is not None  # noqa: S101  # both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        self.send(job)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Write to the child's standard input. One that is dead is none to complain here: it says so by its exit."""
        with suppress(BrokenPipeError):
            self._stdin.write(data)
            self._stdin.flush()

    def close_life_line(self) -> None:
        """End the child's standard input, and with it the child, in its own way."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def lines(self) -> Iterator[bytes]:
        """Give the child's lines as they come, each with its newline, until it has ended.

        Raises
        ------
        StageError: stalled, where one of its limits is over; the child is killed.
        ValueError: where a line is longer than LINE_LIMIT, or where there are more than MOST_LINES.
        """
        rest = b""
        while piece := self._read():
            *lines, rest = (rest + piece).split(b"\n")
            self._said += len(lines)
            if self._said > MOST_LINES:
                raise ValueError(f"more than {MOST_LINES} lines in {WATCH_INTERVAL:g} seconds: {piece[:200]!r}")
            for line in lines:
                yield line + b"\n"
            if len(rest) > LINE_LIMIT:
                raise ValueError(f"a line without an end: {rest[:200]!r}")
        if rest:
            yield rest
        self._await_end()

    def worked(self) -> float:
        """Give the seconds of work that all its threads have done so far. May be called from any thread."""
        with self._lock:
            if not self._reaped:
                self._worked = max(self._worked, _worked(self._process.pid))
            return self._worked

    def kill(self) -> None:
        """Kill the child's whole group. May be called from any thread, at any time."""
        with self._lock:
            if not self._reaped:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def death(self) -> Exception:
        """Say why a child that has ended gave no outcome.

        Returns
        -------
        A StageError by the signal that ended it: out_of_memory, decoder_too_slow, out_of_disk or decoder_crashed; a
        RuntimeError where it ended by itself.
        """
        return explain_end(self.exit_code, self.last_words, used_up=self._used_up)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        # Without reaping it: what it has worked, and what it was allowed, is known until then.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._used_up = self.worked() >= _allowed(self._process.pid) - TICK
        with self._lock:
            self.exit_code = self._process.wait()
            self._reaped = True
        self.close_life_line()
        self._stdout.close()
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_TAIL))
            self.last_words = log.read(LOG_TAIL).decode(errors="replace").strip()

    def _read(self) -> bytes:
        self._wait_for(self._stdout.fileno(), self._silence)
        return os.read(self._stdout.fileno(), LINE_LIMIT)

    def _await_end(self) -> None:
        """Wait without reaping: until the block's end the process id stays the child's own."""
        handle = os.pidfd_open(self._process.pid)
        try:
            self._wait_for(handle, self._silence)
        finally:
            os.close(handle)

    def _wait_for(self, descriptor: int, silence: float | None) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        began = time.monotonic()
        over = min(
            (end for end in (self._ends_at, None if silence is None else began + silence) if end is not None),
            default=math.inf,
        )
        while True:
            now = time.monotonic()
            if now >= self._watch_at:
                self._watch()
                now = time.monotonic()
                self._watch_at = now + WATCH_INTERVAL
                self._said = 0
            if poll.poll(max(0.0, min(over, self._watch_at) - now) * 1000):
                return
            if time.monotonic() >= over:
                break
        self.kill()
        if silence is not None and over == began + silence:
            raise StageError("stalled", f"The decoder said nothing for {silence:g} seconds.")
        raise StageError("stalled", f"The decoder took longer than {self._total:g} seconds.")


def explain_end(exit_code: int, last_words: str, *, used_up: bool = False) -> Exception:
    """Name why a child that nobody here has killed ended without an outcome; see Child.death.

    Parameters
    ----------
    used_up: whether it has done all the work that it was allowed: it is killed then, where it ignores SIGXCPU.
    """
    if exit_code >= 0:
        return RuntimeError(f"the child ended with {exit_code} and without an outcome")
    number = -exit_code
    said = last_words.lower()
    if number == signal.SIGXCPU or (number == signal.SIGKILL and used_up):
        return StageError("decoder_too_slow", "Decoding took more work than a file of this kind and size may take.")
    if number == signal.SIGKILL or any(saying in said for saying in OUT_OF_MEMORY):
        # Nobody here sent it, so it was the kernel (or the container's limit).
        return StageError(
            "out_of_memory",
            "The picture needs more memory to decode than there is, or than may be used "
            "(TILEWRIGHT_DECODE_MEMORY_BYTES).",
        )
    if number == signal.SIGXFSZ:
        return StageError("out_of_disk", "The tiles grew larger than such a picture's may.")
    return StageError("decoder_crashed", f"The decoder crashed on this file ({_name(number)}).")


def _worked(pid: int) -> float:
    """Give the user and system time of all threads of a process (proc_pid_stat(5)); 0 where it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _allowed(pid: int) -> float:
    """Give the seconds of work at which the kernel kills a process; infinite where it does not, or nobody can tell."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
    except OSError:
        return math.inf
    return math.inf if hard == resource.RLIM_INFINITY else hard


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"
