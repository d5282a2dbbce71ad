"""Programs run for a test: as another account where they refuse root's, in a group of their own, and ended with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_LIMIT = 60.0
"""Seconds a server may take to answer; either takes one to five on two cores."""

STOP_LIMIT = 30.0
"""Seconds a server may take to end before it is killed."""


class Lacking(Exception):
    """Raised when this machine has not got the program asked for; says which."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(name: str, *folders: str) -> str:
    """The path of a program on PATH or in the folders given (patterns below /, the last match wins)."""
    found = [str(path) for folder in folders for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"))]
    path = found[-1] if found else shutil.which(name)
    if path is None:
        raise Lacking(f"{name} is not installed")
    return path


class Account:
    """Whom a server runs as: the account named when the tests run as root, else whoever runs them."""

    def __init__(self, name: str) -> None:
        self.name = name if os.geteuid() == 0 else None
        # Not by Popen's `user`: for that Python forks, where it otherwise makes a vfork, and a fork beside busy rpcs
        # crashes two of three children in gRPC's handlers, before they are the program.
        self._as_account = (
            [] if self.name is None else ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"]
        )

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder that belongs to the account. Not pytest's own: only its owner can look into that."""
        path = Path(tempfile.mkdtemp(prefix="tilewright-"))
        try:
            if self.name is not None:
                owner = pwd.getpwnam(self.name)
                os.chown(path, owner.pw_uid, owner.pw_gid)
            yield path
        finally:
            shutil.rmtree(path)

    @contextmanager
    def process(
        self, command: list[str], home: Path, env: Mapping[str, str] | None = None, stop: int = signal.SIGTERM
    ) -> Iterator[Running]:
        """Run the command, its output going to a file; at the end signal its whole group and wait for it."""
        log = home / f"{Path(command[0]).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._as_account + command,
                cwd=home,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(home), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Running(process, log)
        finally:
            _end(process, stop)

    @contextmanager
    def server(
        self,
        command: list[str],
        home: Path,
        answers: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        stop: int = signal.SIGTERM,
    ) -> Iterator[Running]:
        """Runs the command as `process` does, and gives it once it answers. Raises RuntimeError where it does not."""
        with self.process(command, home, env, stop) as running:
            running.await_ready(answers)
            yield running


class Running:
    """A server's process and the file it writes to."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def await_ready(self, answers: Callable[[], bool]) -> None:
        """Returns once the server answers; raises with its output when it ends before, or takes too long."""
        deadline = time.monotonic() + START_LIMIT
        while not answers():
            try:
                code = self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                code = None
            if code is not None or time.monotonic() > deadline:
                output = self.log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{self.process.args!r} did not start (exit code {code}):\n{output}")


def _end(process: subprocess.Popen[bytes], stop: int) -> None:
    # The leader may be a shell whose death would leave its child behind, so the group gets the signal.
    try:
        os.killpg(process.pid, stop)
        process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()
