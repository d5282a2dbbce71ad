"""Run the embedded stack as a child process, for the demo, the bench and the acceptance tests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import TilewrightError

READY = re.compile(r"ready (?P<url>http://\S+) grpc://(?P<grpc>\S+)\n")
"""The line that `tilewright up` prints when everything is ready."""

STOP_PATIENCE = 15.0
"""Seconds to wait for the process to stop before it is killed: one and a half times what `up` promises."""


class StackDied(TilewrightError):
    """Raised when `tilewright up` ended before it was ready. The message is what it printed."""


class LaunchedStack:
    """A running `tilewright up`.

    Parameters
    ----------
    process: the child; its standard output has been read up to the ready line.
    data: its data directory.
    log: file of its standard error.
    """

    def __init__(self, process: subprocess.Popen[str], data: Path, log: Path) -> None:
        self.process = process
        self.data = data
        self.log = log
        ready = READY.fullmatch(process.stdout.readline() if process.stdout else "")
        if ready is None:
            self.kill()
            raise StackDied(log.read_text(errors="replace").strip() or "`tilewright up` ended without a message.")
        self.url: str = ready["url"]
        self.grpc_address: str = ready["grpc"]

    def stop(self) -> int:
        """Stop the process, or kill it if it does not stop. Return its exit code, negative after a signal."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self._reap()

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        self.process.kill()
        self._reap()

    def _reap(self) -> int:
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.wait()


def launch(
    data: Path,
    *,
    allow_sources: Sequence[str] = (),
    port: int = 0,
    grpc_port: int = 0,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> LaunchedStack:
    """Start `tilewright up`, and return when it is ready. The caller has to stop it.

    Parameters
    ----------
    log: file to append its standard error to; default: `up.log` beside the data directory.
    environment: its environment variables; default: those of this process.
    under: a command that starts it, such as one that sets limits.

    Raises
    ------
    StackDied: if it ends before it is ready.
    """
    log = log or data.parent / "up.log"
    command = [*under, sys.executable, "-m", "tilewright", "up", "--port", str(port), "--grpc-port", str(grpc_port)]
    command += ["--data", str(data), *(word for source in allow_sources for word in ("--allow-source", source))]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            # Ctrl-C on the terminal goes only to the parent, which then stops this process.
            start_new_session=True,
        )
    return LaunchedStack(process, data, log)


@contextmanager
def launched(data: Path, *, allow_sources: Sequence[str] = (), port: int = 0) -> Iterator[LaunchedStack]:
    """Start a stack, yield it, and stop it after the block."""
    stack = launch(data, allow_sources=allow_sources, port=port)
    try:
        yield stack
    finally:
        stack.stop()
