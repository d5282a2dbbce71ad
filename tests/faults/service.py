"""One of our services as a child process that is started again when it ends by itself, as compose does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.faults.hooks import sitecustomize
from tests.faults.hooks.sitecustomize import SIGNAL_VARIABLE, VARIABLE
from tests.support.rigs.waiting import until

HOOKS = Path(sitecustomize.__file__).parent
"""Where a service finds what has it hit at a point."""

STOP_LIMIT = 20.0
"""Seconds a service may take to end in order."""


class Service:
    """Signals go to the process' group, as they go to all of a container; a tiler's child is a group of its own.

    Parameters
    ----------
    arguments: of the Python interpreter.
    environment: TILEWRIGHT_… variables that every start gets.
    folder: for the log and for the marks of faults.
    hasty: is killed where a test only wants it to begin anew: an orderly end takes a worker two seconds.
    """

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str], folder: Path, *, hasty: bool = False
    ) -> None:
        self.name = name
        self.hasty = hasty
        self.log = folder / f"{name}.log"
        self.deaths = 0
        self.variables: dict[str, str] = {}
        self._command = [sys.executable, *arguments]
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("TILEWRIGHT_")} | environment
        self._folder = folder
        self._faults = 0
        self._marks: list[Path] = []
        self._fault: dict[str, str] = {}
        self._lock = threading.Lock()
        self._wanted = False
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._wanted

    def start(self, **variables: str) -> None:
        """Starts it, and from now on whenever it ends by itself; the variables are for these starts only."""
        with self._lock:
            self._wanted, self.variables = True, variables
            self._launch()

    def stop(self) -> int:
        """Ends it in order. Returns its exit code."""
        return self._end(signal.SIGTERM)

    def down(self) -> None:
        """Kills it, and leaves it so."""
        self._end(signal.SIGKILL)

    def restart(self, **variables: str) -> None:
        """Ends it in order and starts it anew."""
        self.stop()
        self.start(**variables)

    def begin_anew(self, **variables: str) -> None:
        """Ends it, having nothing to do, and starts it."""
        if self.hasty:
            self.down()
        else:
            self.stop()
        self.start(**variables)

    def kill(self) -> None:
        """Kills it; returns when it is started again."""
        before = self.deaths
        self.signal(signal.SIGKILL)
        until(lambda: self.deaths > before, f"a new start of {self.name}")

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def arm(self, point: str, number: str = "SIGKILL", *, times: int = 1, **variables: str) -> Path:
        """Starts it anew, to be hit at a point by a signal, as often as `times`, once a start.

        Returns the file that tells that it was hit for the last time.
        """
        self._faults += 1
        marks = [self._folder / f"{self.name}-{self._faults}-{point}-{count}" for count in range(times)]
        self._marks = list(marks)
        self._fault = {VARIABLE: point, SIGNAL_VARIABLE: number, "PYTHONPATH": str(HOOKS)}
        self.begin_anew(**variables)
        return marks[-1]

    def _launch(self) -> None:
        if self._marks:
            # The last one stays: it exists by then, so that nothing more is hit.
            mark = self._marks.pop(0) if len(self._marks) > 1 else self._marks[0]
            self._fault[VARIABLE] = f"{self._fault[VARIABLE].partition(':')[0]}:{mark}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment | self._fault | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._watch, args=(self._process,), name=f"watch-{self.name}", daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        # Without reaping: until then its number is no other's, and its group can be signalled.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            # What is left of its group, as a container's end takes all of it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if self._wanted:
                self._launch()
                self.deaths += 1
            else:
                self._ended.set()

    def _end(self, number: int) -> int:
        with self._lock:
            if not self._wanted or self._process is None:
                return 0
            self._wanted = False
            self._ended.clear()
            process = self._process
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                # As Docker does: to the first process only. Dramatiq's workers take a second SIGTERM for impatience.
                os.kill(process.pid, number)
                # One that is frozen has to hear it.
                os.killpg(process.pid, signal.SIGCONT)
        if not self._ended.wait(STOP_LIMIT):
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{self.name} did not end:\n{self.log.read_text()[-4000:]}")
        return process.wait()
