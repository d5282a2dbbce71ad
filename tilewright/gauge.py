"""Show the progress of the command's own work on standard error: a live bar on a terminal, else one line per step."""

# ruff: noqa: PLC0415  Rich takes a tenth of a second to import, and most commands show no bars
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pipeline.texts import amount_of
from tilewright.output import note


class Gauge(Protocol):
    """Shows one step after another."""

    def step(self, what: str, *, in_bytes: bool = False, unit: str = "tiles") -> None:
        """Begin a step, such as "Unpacking". Progress is counted in units such as tiles, or in bytes if `in_bytes`."""

    def move(self, done: int, total: int) -> None:
        """Report the progress of the step."""


@contextmanager
def gauge(*, quiet: bool = False) -> Iterator[Gauge]:
    """Yield the gauge to use: none if `quiet`, a bar if standard error is a capable terminal, else lines."""
    if quiet:
        yield _Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        with _bar() as bar:
            yield bar
    else:
        yield _Lines()


class _Silent:
    def step(self, what: str, *, in_bytes: bool = False, unit: str = "tiles") -> None:
        pass

    def move(self, done: int, total: int) -> None:
        pass


class _Lines(_Silent):
    def step(self, what: str, *, in_bytes: bool = False, unit: str = "tiles") -> None:  # noqa: ARG002  no counts
        note(f"{what}…")


@contextmanager
def _bar() -> Iterator[Gauge]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )

    class Bar:
        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._task: TaskID | None = None
            self._in_bytes = False
            self._unit = "tiles"

        def step(self, what: str, *, in_bytes: bool = False, unit: str = "tiles") -> None:
            self._task = self._progress.add_task(what, total=None, counts="")
            self._in_bytes = in_bytes
            self._unit = unit

        def move(self, done: int, total: int) -> None:
            counts = amount_of(done, total) if self._in_bytes else f"{done:,} of {total:,} {self._unit}"
            if self._task is not None:
                self._progress.update(self._task, total=total, completed=done, counts=counts)

    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress)
