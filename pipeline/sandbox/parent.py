"""Start a confined child process, watch it, and explain how it ended.

The child has its own session and process group: a kill reaches the whole group, whatever a decoder is doing, and
nothing else. Its standard input stays open, so that the child ends with this process. For the other side see
pipeline.sandbox.child.
"""

from __future__ import annotations

import fcntl
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
"""Name of the file with the child's standard error, in its folder."""

LINE_LIMIT = 1 << 16
"""Most bytes of a line: a thousand times those of a report. It limits the memory that a broken child can use here."""

MOST_LINES = 1000
"""Most lines of a child in a WATCH_INTERVAL: a hundred times those of a working child. Each line costs this process a
few microseconds, and in embedded mode this process also serves tiles."""

WATCH_INTERVAL = 0.5
"""Seconds between two calls of `watch`. A child can write half a gigabyte to the disk in that time."""

LOG_TAIL = 2000
"""Bytes kept of the end of the child's standard error."""

TICK = 0.5
"""Seconds by which the kernel's count of CPU time may lag behind the limit for which a process was killed."""

OUT_OF_MEMORY = (
    "cannot allocate memory",
    "failed to allocate",  # GLib, which then ends the process with SIGTRAP or SIGABRT
    "out of memory",
    "bad_alloc",  # C++, which then aborts
    "error creating thread",  # GLib, if there is no memory for a thread's stack
)
"""Messages, in lower case, of a process before it ends itself because memory ran out."""


def command(module: str) -> tuple[str, ...]:
    """Return the command that starts a child. -I ignores PYTHON… variables, the user's packages and local modules."""
    return (sys.executable, "-I", "-m", module)


class Child:
    """A child process. As a context manager, it leaves no process of its group behind.

    Parameters
    ----------
    command: the command to start, such as command("tiler.child").
    job: the first line to send, including its newline.
    folder: an existing folder. The child starts in it, and its standard error is written there.
    environment: the child's complete environment.
    total: most seconds until the child ends; None if the caller limits them.
    silence: most seconds between two lines; None if the caller limits them.
    watch: called about every WATCH_INTERVAL while `lines` is read, whether or not the child sends lines. If it raises,
        `lines` raises the same error.
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
        # Guards the process id, which must not be signalled after the child is reaped: another process may have it.
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
        """Write to the child's standard input. If the child is dead, nothing is raised: its exit code shows it."""
        with suppress(BrokenPipeError):
            self._stdin.write(data)
            self._stdin.flush()

    def close_life_line(self) -> None:
        """Close the child's standard input. The child then ends itself."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the child's lines as they arrive, each with its newline, until the child has ended.

        Raises
        ------
        StageError: stalled, if a time limit is exceeded; the child is killed.
        ValueError: if a line is longer than LINE_LIMIT, or there are more than MOST_LINES in a WATCH_INTERVAL.
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

    def receive(self, length: int) -> bytes:
        """Read exactly `length` bytes of the child's standard output, instead of lines.

        The caller limits the time, by a call of `kill` in another thread.

        Raises
        ------
        EOFError: the child has ended.
        """
        data = bytearray()
        while len(data) < length:
            piece = os.read(self._stdout.fileno(), length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def widen_pipes(self, size: int) -> None:
        """Let the pipes hold `size` bytes, so that large messages need fewer switches between the processes."""
        for pipe in (self._stdin, self._stdout):
            # An operator may allow less.
            with suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, size)

    def worked(self) -> float:
        """Return the CPU seconds of all the child's threads so far. May be called from any thread."""
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
        """Return the error to raise for a child that ended without an outcome.

        Returns
        -------
        If a signal ended the child, a StageError: out_of_memory, decoder_too_slow, out_of_disk or decoder_crashed. If
        it exited, a RuntimeError.
        """
        return explain_end(self.exit_code, self.last_words, used_up=self._used_up)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        # Wait without reaping: the CPU time and its limit can be read until the child is reaped.
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
        """Wait without reaping, so that the process id stays the child's until the context ends."""
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
            raise StageError("stalled", f"The decoder made no progress for {silence:g} seconds.")
        raise StageError("stalled", f"The decoder took longer than {self._total:g} seconds.")


def explain_end(exit_code: int, last_words: str, *, used_up: bool = False) -> Exception:
    """Explain why a child ended without an outcome, if this process did not kill it: see Child.death.

    Parameters
    ----------
    used_up: whether the child used all its CPU time. The kernel then kills it if it ignores SIGXCPU.
    """
    if exit_code >= 0:
        return RuntimeError(f"the child exited with {exit_code} and without an outcome")
    number = -exit_code
    said = last_words.lower()
    if number == signal.SIGXCPU or (number == signal.SIGKILL and used_up):
        return StageError("decoder_too_slow", "Decoding took more CPU time than a file of this kind and size may take.")
    if number == signal.SIGKILL or any(saying in said for saying in OUT_OF_MEMORY):
        # This process did not kill the child, so the kernel did, or the limit of the container.
        return StageError(
            "out_of_memory",
            "The image needs more memory to decode than there is, or than the limit (TILEWRIGHT_DECODE_MEMORY_BYTES).",
        )
    if number == signal.SIGXFSZ:
        return StageError("out_of_disk", "The tiles grew larger than the limit for such an image.")
    return StageError("decoder_crashed", f"The decoder crashed on this file ({_name(number)}).")


def _worked(pid: int) -> float:
    """Return the user and system time of all threads of a process (proc_pid_stat(5)); 0 if it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _allowed(pid: int) -> float:
    """Return the CPU seconds at which the kernel kills a process; infinite if there is no limit, or it is unknown."""
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
