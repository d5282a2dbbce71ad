"""`make bench`: compare the main job with curl and plain libvips, on the same machine and in the same run.

Times are printed as ratios, because absolute times depend more on the machine than on the code. The milliseconds of a
POST and the peaks of memory are printed beside their limits. Nothing is written into the repository.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests

from bench import fetching, regions, samples, serving, tiling
from bench.memory import watched
from bench.picture import SIDE, cached_picture, variant
from bench.posts import Poster, percentile
from tilewright.commands.pictures import served
from tilewright.embedded import LaunchedStack, launched

ROUNDS = 3
LONGEST_JOB = 300
"""Seconds: the longest wait that the API grants."""

IDLE_POSTS = 200
BUSY_JOBS = 3
"""How often the large image is tiled while POSTs are timed: long enough for as many POSTs as in the idle time."""

DZSAVE = """
import sys, pyvips
image = pyvips.Image.new_from_file(sys.argv[1], access="sequential")
image.dzsave(sys.argv[2], tile_size=256, overlap=0, suffix=".jpg[Q=85]", container="szi")
"""

LIMIT_RATIO, LIMIT_POST_MS, LIMIT_MIB = 1.3, 50.0, 350


@dataclass
class Measured:
    """The results of the rounds: seconds, and bytes of memory by process."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)


def main() -> None:
    """Run the benchmark and print the results."""
    say("Making the image, once")
    picture = cached_picture()
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        with (
            served(folder / "pictures") as url,
            launched(folder / "data", allow_sources=[urlsplit(url).netloc]) as stack,
        ):
            measured = measure(stack, picture, folder, url)
            say("Serving tiles, compared with nginx")
            served_tiles = serve(stack, picture, folder, url)
            say("Making regions of a gigapixel, compared with iipsrv")
            made_regions = make_regions(stack, folder, url)
    report(measured, picture.stat().st_size)
    serving.report(served_tiles)
    regions.report(made_regions)
    tiling.compare()
    samples.compare()
    fetching.compare()


def measure(stack: LaunchedStack, picture: Path, folder: Path, url: str) -> Measured:
    """Run all rounds: Tilewright and curl with dzsave in turn, then the POSTs."""
    measured = Measured()
    with watched(stack.process.pid, "tilewright up", "its tiler's child") as peaks:
        for number in range(ROUNDS):
            say(f"Round {number + 1} of {ROUNDS}")
            path = variant(picture, number, folder / "pictures")
            measured.theirs.append(by_hand(f"{url}/{path.name}", folder, measured.memory))
            measured.ours.append(through_the_stack(stack.url, f"{url}/{path.name}"))
            path.unlink()
        say("POSTs, idle and busy")
        post(stack, picture, folder, url, measured)
    measured.memory |= peaks.of
    return measured


def serve(stack: LaunchedStack, picture: Path, folder: Path, url: str) -> serving.Served:
    """Measure how fast tiles are served. The image was tiled before."""
    path = variant(picture, 0, folder / "pictures")
    (folder / "nginx").mkdir()
    dataset_id, tile_id = tiled(stack.url, f"{url}/{path.name}")
    return serving.measure(stack, dataset_id, tile_id, folder / "nginx")


def make_regions(stack: LaunchedStack, folder: Path, url: str) -> regions.Compared:
    """Measure how fast regions are made. The image and the TIFF for iipsrv are made once."""
    picture = cached_picture(regions.SIDE)
    linked = folder / "pictures" / "gigapixel.jpg"
    linked.symlink_to(picture)
    (folder / "iipsrv").mkdir()
    _, tile_id = tiled(stack.url, f"{url}/{linked.name}")
    image = f"{stack.url}/iiif/{tile_id}"
    return regions.measure(image, regions.pyramidal_tiff(picture), regions.SIDE, folder / "iipsrv")


def through_the_stack(server: str, url: str) -> float:
    """Return the seconds from the POST to `ready`."""
    begun = time.perf_counter()
    tiled(server, url)
    return time.perf_counter() - begun


def tiled(server: str, url: str) -> tuple[str, str]:
    """Tile an image, and return its dataset_id and tile_id.

    This waits with `Prefer: wait`, because polls would add load.
    """
    body = {"name": "bench", "url": url}
    answer = requests.post(
        f"{server}/api/datasets", json=body, headers={"Prefer": f"wait={LONGEST_JOB}"}, timeout=LONGEST_JOB + 10
    )
    dataset = answer.json()
    if dataset["status"] != "ready":
        raise RuntimeError(f"the image is not ready: {dataset}")
    return dataset["dataset_id"], dataset["tile_info"]["tile_id"]


def by_hand(url: str, folder: Path, memory: dict[str, int]) -> float:
    """Return the seconds that curl and then pyvips' dzsave take, each in a process of its own."""
    source, pyramid = folder / "by-hand.jpg", folder / "by-hand.szi"
    begun = time.perf_counter()
    run("curl", ["curl", "-sSf", "-o", str(source), url], memory)
    run("pyvips dzsave", [sys.executable, "-c", DZSAVE, str(source), str(pyramid)], memory)
    seconds = time.perf_counter() - begun
    source.unlink()
    pyramid.unlink()
    return seconds


def run(name: str, command: list[str], memory: dict[str, int]) -> None:
    """Run a command to its end and record its peak memory."""
    process = subprocess.Popen(command)
    with watched(process.pid, name, name) as peaks:
        exit_code = process.wait()
    if exit_code:
        raise RuntimeError(f"{name} ended with {exit_code}")
    memory[name] = max(memory.get(name, 0), peaks.of.get(name, 0))


def post(stack: LaunchedStack, picture: Path, folder: Path, url: str, measured: Measured) -> None:
    """Time POSTs of a small image that is tiled already: first alone, then while the large one is tiled again."""
    small = folder / "pictures" / "small.jpg"
    subprocess.run([sys.executable, "-c", THUMBNAIL, str(picture), str(small)], check=True)
    through_the_stack(stack.url, f"{url}/{small.name}")
    poster = Poster(stack.url, f"{url}/{small.name}")
    over = threading.Event()
    over.set()
    measured.idle = poster.until(over, IDLE_POSTS)
    over.clear()
    paths = [variant(picture, ROUNDS + number, folder / "pictures") for number in range(BUSY_JOBS)]

    def work() -> None:
        try:
            for path in paths:
                through_the_stack(stack.url, f"{url}/{path.name}")
        finally:
            over.set()

    thread = threading.Thread(target=work)
    thread.start()
    measured.busy = poster.until(over, 2)
    thread.join()


THUMBNAIL = """
import sys, pyvips
pyvips.Image.thumbnail(sys.argv[1], 400).jpegsave(sys.argv[2])
"""


def report(measured: Measured, size: int) -> None:
    """Print the table."""
    ours, theirs = statistics.median(measured.ours), statistics.median(measured.theirs)
    print(f"\nURL to READY, {SIDE:,} x {SIDE:,} JPEG of {size / 1e6:,.0f} MB, medians of {ROUNDS}, as ratios")
    print("  curl, then pyvips dzsave     1.00")
    print(f"  through tilewright up        {ours / theirs:.2f}   at most {LIMIT_RATIO}")
    print("\nPOST /api/datasets, milliseconds      p50     p99")
    for name, times in (("idle", measured.idle), ("while that job runs", measured.busy)):
        p50, p99 = (1000 * percentile(times, percent) for percent in (50, 99))
        print(f"  {name:<20} ({len(times):4} POSTs)  {p50:6.1f}  {p99:6.1f}   p99 at most {LIMIT_POST_MS:.0f}")
    print("\nPeak memory, MiB")
    for name, peak in measured.memory.items():
        limit = f"   below {LIMIT_MIB}" if name == "tilewright up" else ""
        print(f"  {name:<20} {peak / 2**20:6.0f}{limit}")


def say(text: str) -> None:
    """Print the current step on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
