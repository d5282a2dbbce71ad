"""Starts the child that decodes and tiles, watches it, and says what became of it.

The child is a session and process group of its own: a stop kills the group, whatever the decoder is doing, and
nothing else. Its standard input stays open as its life line, so that it ends with this process, too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from pipeline import faults
from pipeline.errors import StageError
from pipeline.run import Run
from tiler.job import Built, Failed, Job, Progress, Report, decode_report, encode_job
from tiler.sandbox import environment

COMMAND = (sys.executable, "-I", "-m", "tiler.child")
"""Isolated: no PYTHON… variable, no user's packages, no module from the present folder."""

LOG = "child.log"
"""The child's standard error, in its scratch."""

LINE_LIMIT = 1 << 16
"""Bytes of a report: a thousand times what one needs, and an end to what a broken child can make us hold."""

LOG_TAIL = 2000
"""Bytes of the child's standard error that are logged when it fails."""

logger = logging.getLogger(__name__)


def build(
    run: Run,
    job: Job,
    *,
    threads: int,
    command: tuple[str, ...] = COMMAND,
    check_room: Callable[[], None] = lambda: None,
) -> Built:
    """Have a child do a job; returns when it has ended, however it did.

    Parameters
    ----------
    run: is told of progress; its stop kills the child.
    threads: of libvips; 0 for one a core.
    command: what to start.
    check_room: called while the child writes; what it raises ends the child, and is raised.

    Raises
    ------
    Stopped: where the run was told to stop.
    StageError: where the picture cannot be tiled; decoder_crashed and out_of_memory by the signal that ended the child.
    RuntimeError: where the child ended without an outcome.
    """
    outcome: Report | None = None
    with _Child(job, threads, command) as child:
        logger.info("%s: child %d started", run.wake_up.dataset_id, child.pid)
        run.on_stop(child.kill)
        for report in child.reports():
            outcome = report
            if isinstance(report, Progress):
                faults.reach("tiler_mid_build")
                check_room()
                run.report(
                    tiles_done=report.tiles_done, tiles_total=report.tiles_total or None, stage_percent=report.percent
                )
    run.check()
    if isinstance(outcome, Built) and child.exit_code == 0:
        return outcome
    logger.warning("%s: child ended with %d: %s", run.wake_up.dataset_id, child.exit_code, child.last_words)
    if isinstance(outcome, Failed):
        raise StageError(outcome.code, outcome.message)
    raise _death(child.exit_code)


def _death(exit_code: int) -> Exception:
    if exit_code == -signal.SIGKILL:
        # Nobody here sent it, so it was the kernel (or the container's limit).
        return StageError("out_of_memory", "The picture needs more memory to decode than a worker may use.")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return StageError("decoder_crashed", f"The decoder crashed on this file ({name}).")
    return RuntimeError(f"the tiler's child ended with {exit_code} and without an outcome")


class _Child:
    """One started child; as a context it leaves no process of its group behind."""

    def __init__(self, job: Job, threads: int, command: tuple[str, ...]) -> None:
        self._log = Path(job.scratch) / LOG
        # Guards the process id: it must not be signalled once it is reaped and may be another's.
        self._lock = threading.Lock()
        self._reaped = False
        self.exit_code = 0
        self.last_words = ""
        with self._log.open("wb") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=job.scratch,
                env=environment(job.scratch, threads),
                start_new_session=True,
            )
        assert self._process.stdin is not None  # noqa: S101  # both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        # A child that is dead already says so by its exit.
        with suppress(BrokenPipeError):
            self._stdin.write(encode_job(job))
            self._stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def reports(self) -> Iterator[Report]:
        """Give the child's reports as they come, until it closes its output or is killed."""
        while line := self._stdout.readline(LINE_LIMIT):
            yield decode_report(line)
        # Wait without reaping; a child that lives on here is ended by the run's own limits.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """Kill the child's whole group. May be called from any thread, at any time."""
        with self._lock:
            if not self._reaped:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> _Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        with self._lock:
            self.exit_code = self._process.wait()
            self._reaped = True
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        with suppress(OSError):
            self.last_words = self._log.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()
