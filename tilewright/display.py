"""Show a dataset's progress on standard error: live bars on a terminal, else one line per phase."""

# ruff: noqa: PLC0415  Rich takes a tenth of a second to import, and most commands show no bars
from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.texts import amount, amount_of, visible

if TYPE_CHECKING:
    from rich.progress import TaskID

Status = dict[str, Any]

PHASES = {
    "queued": "Waiting for a worker…",
    "downloading": "Downloading…",
    "generating_tiles": "Generating tiles…",
    "completed": "Ready.",
}
"""What to show a person for each value of a status's `progress`."""

RETRYING = "Retrying in "
"""The beginning of the message of a status that waits for its automatic retry."""


class Display(Protocol):
    """Shows one status after another. It is a context manager, because the terminal has to be restored at the end."""

    def show(self, status: Status) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def make_display(*, quiet: bool = False) -> Display:
    """Return the display to use: none if `quiet`, bars if standard error is a capable terminal, else lines."""
    if quiet:
        return Silent()
    if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return Bars()
    return Lines()


def follow(statuses: Iterable[Status], display: Display) -> Status:
    """Show each status and return the last one. `statuses` must not be empty."""
    last: Status = {}
    with display:
        for status in statuses:
            last = status
            display.show(status)
    return last


class Silent:
    """Shows nothing."""

    def show(self, status: Status) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class Lines(Silent):
    """Shows a line when the phase or the attempt changes, and when a retry is scheduled."""

    def __init__(self) -> None:
        self._last: tuple[str, int, bool] | None = None

    def show(self, status: Status) -> None:
        phase, attempt = phase_of(status), int(status.get("attempt") or 1)
        message = str(status.get("message") or "")
        # The message counts down: show it once.
        waits = message.startswith(RETRYING)
        if phase in PHASES and (phase, attempt, waits) != self._last:
            self._last = phase, attempt, waits
            again = f" (attempt {attempt})" if attempt > 1 else ""
            text = visible(message) if waits else f"{PHASES[phase]}{again}"
            sys.stderr.write(f"{status['dataset_id']}: {text}\n")
            sys.stderr.flush()


class Bars:
    """Shows one live bar per stage, and the server's message below them."""

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.text import Text

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            console=self._console,
        )
        self._download = self._progress.add_task("Downloading", total=None, start=False, counts="")
        self._tiles = self._progress.add_task("Generating tiles", total=None, start=False, counts="")
        self._message = Text("", overflow="ellipsis", no_wrap=True)
        self._live = Live(Group(self._progress, self._message), console=self._console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, status: Status) -> None:
        phase = phase_of(status)
        self._message.plain = "" if phase == "completed" else _message(status)
        if phase == "completed":
            tile_info = status.get("tile_info") or {}
            self._full(self._download, None)
            self._full(self._tiles, f"{tile_info.get('width', 0):,} x {tile_info.get('height', 0):,} pixels")
        elif phase == "generating_tiles":
            self._full(self._download, _bytes(status))
            self._part(self._tiles, status, _tiles(status))
        elif phase == "downloading":
            self._part(self._download, status, _bytes(status))

    def _part(self, task: TaskID, status: Status, counts: str) -> None:
        self._progress.start_task(task)
        percent = status.get("stage_percent")
        self._progress.update(task, total=None if percent is None else 100.0, completed=percent or 0.0, counts=counts)

    def _full(self, task: TaskID, counts: str | None) -> None:
        self._progress.start_task(task)
        self._progress.update(task, total=100.0, completed=100.0)
        if counts:
            self._progress.update(task, counts=counts)


def phase_of(status: Status) -> str:
    """Return the status's `progress`; `completed` if it is ready, and `failed` if it failed."""
    if status["status"] == "ready":
        return "completed"
    return str(status.get("progress") or status["status"])


def _message(status: Status) -> str:
    sentence = visible(str(status.get("message") or ""))
    eta = status.get("eta_seconds")
    return sentence if eta is None else f"{sentence}  about {duration(eta)} left in this stage"


def duration(seconds: float) -> str:
    """Return a duration as text: `7 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _bytes(status: Status) -> str:
    done, total = status.get("bytes_downloaded"), status.get("bytes_total")
    if done is None:
        return ""
    return amount(done) if total is None else amount_of(done, total)


def _tiles(status: Status) -> str:
    done, total = status.get("tiles_done"), status.get("tiles_total")
    if done is None:
        return ""
    return f"{done:,} tiles" if total is None else f"{done:,} of {total:,} tiles"
