"""Compare ingest's downloads with those of curl and, if installed, aria2c: unlimited, and with a limit per connection.

`make bench` prints this too; `python -m bench.fetching` prints it alone. Each download runs in a process of its own.
All are from one server on the same machine.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ingest.download import Fetch
from ingest.http import Guard
from ingest.settings import IngestSettings
from pipeline.sources import Allowed
from tests.support.network import answers
from tests.support.network.sources import SourceServer, serve

ROUNDS = 3
CONNECTIONS = IngestSettings().source_connections

MEGABYTES = 512
"""Size of the file that is sent without a limit. It takes about a second, so connecting hardly counts."""

LIMITED_MEGABYTES, LIMIT = 48, 8 * 10**6
"""Size of the file from a server that limits each connection, and that limit in bytes per second. With one connection
it takes six seconds."""

GIGABYTES = 4
"""Size of the file whose download is measured for memory."""

LIMIT_MIB = 50
"""Limit for the growth of the process, whatever the size of the file."""


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.fetching")
    parser.add_argument(
        "--gigabytes", type=int, default=GIGABYTES, help="size of the download that is measured for memory"
    )
    parser.add_argument("--one", nargs=3, metavar=("URL", "PATH", "CONNECTIONS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        download(options.one[0], Path(options.one[1]), int(options.one[2]))
    else:
        compare(options.gigabytes)


def compare(gigabytes: int = GIGABYTES) -> None:
    """Measure everything and print it."""
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name:
        folder = Path(name)
        (folder / "served").mkdir()
        with serve(folder / "served") as server:
            picture = b"\xff\xd8\xff\xe0" + bytes(10**6 - 4)
            with (folder / "served" / "fast.jpg").open("wb") as file:
                for _ in range(MEGABYTES):
                    file.write(picture)
            fast = race(server.url("/fast.jpg"), folder, "fast")
            (folder / "served" / "fast.jpg").unlink()
            slow = race(limited(server, picture * LIMITED_MEGABYTES), folder, "limited")
            huge = folder / "served" / "huge.jpg"
            with huge.open("wb") as file:
                file.write(picture)
                file.truncate(gigabytes * 10**9)
            say(f"Memory of a download of {gigabytes} GB")
            _, grown = ours(server.url("/huge.jpg"), folder / "got", CONNECTIONS)
    report(fast, slow, grown, gigabytes)


def limited(server: SourceServer, data: bytes) -> str:
    """Return the URL of a file that is sent at LIMIT bytes per second over each connection."""
    return server.on("/limited.jpg", answers.limited(data, LIMIT))


def race(url: str, folder: Path, what: str) -> dict[str, float]:
    """Run all programs in turn, and return the median seconds of each."""
    got = folder / "got"
    racers: dict[str, Callable[[], float]] = {
        "curl": lambda: by_hand("curl", "-sSf", "-o", str(got), url),
        "ingest, one connection": lambda: ours(url, got, 1)[0],
        f"ingest, up to {CONNECTIONS}": lambda: ours(url, got, CONNECTIONS)[0],
    }
    if shutil.which("aria2c"):
        aria = ["aria2c", "-q", f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", "-k1M", "--file-allocation=none"]
        racers[f"aria2c, {CONNECTIONS}"] = lambda: by_hand(*aria, "-d", str(folder), "-o", "got", url)
    times: dict[str, list[float]] = {name: [] for name in racers}
    for number in range(ROUNDS):
        say(f"Downloads, {what}: round {number + 1} of {ROUNDS}")
        for name, run in racers.items():
            times[name].append(run())
            got.unlink()
    return {name: statistics.median(taken) for name, taken in times.items()}


def by_hand(*command: str) -> float:
    """Run a command, and return its seconds."""
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - begun


def ours(url: str, path: Path, connections: int) -> tuple[float, int]:
    """Return the seconds of ingest's download, without the start of Python, and the bytes its process grew by."""
    command = [sys.executable, "-m", "bench.fetching", "--one", url, str(path), str(connections)]
    seconds, grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), int(grown)


def download(url: str, path: Path, connections: int) -> None:
    """Download a file as ingest does, and print the seconds and the bytes that this process grew by."""
    settings = IngestSettings(source_connections=connections)
    guard = Guard(Allowed(["127.0.0.0/8"]))
    before = resident("VmRSS")
    begun = time.perf_counter()
    Fetch(url, path, settings=settings, guard=guard, progress=lambda *_: None).run()
    print(time.perf_counter() - begun, resident("VmHWM") - before)


def resident(kind: str) -> int:
    """Return the bytes of this process in memory: VmRSS is the current value, VmHWM the peak."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def report(fast: dict[str, float], slow: dict[str, float], grown: int, gigabytes: int) -> None:
    """Print the tables."""
    for title, times in (
        (f"Downloads from this machine, {MEGABYTES} MB, unlimited", fast),
        (f"{LIMITED_MEGABYTES} MB from a server that limits each connection to {LIMIT / 1e6:.0f} MB/s", slow),
    ):
        print(f"\n{title}: medians of {ROUNDS}, as ratios")
        for name, seconds in times.items():
            print(f"  {name:<28} {seconds / times['curl']:.2f}")
    print(f"\nMemory that a download of {gigabytes} GB adds to its process, MiB")
    print(f"  ingest, up to {CONNECTIONS:<14} {grown / 2**20:4.0f}   below {LIMIT_MIB}")


def say(text: str) -> None:
    """Print the current step on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
