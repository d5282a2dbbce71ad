"""Compare the tiler with plain `dzsave` into a directory: time for a gigapixel JPEG, memory as images become taller.

`make bench` prints this too; `python -m bench.tiling` prints it alone. Tilewright is timed from the end of the
download, when the tiler's message is sent, to READY, as a watcher of the dataset sees it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pyvips
import requests

from bench.memory import watched
from bench.picture import SIDE as SIDE_OF_PREVIEWED
from bench.picture import cached_picture, variant
from pipeline.channels import CLIENT_OPTIONS
from pipeline.formats import libvips
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from tiler.image_progress import follow
from tiler.job import JOBS, Job
from tiler.parent import COMMAND
from tiler.progress import Meter
from tilewright.commands.pictures import served
from tilewright.embedded import LaunchedStack, launch

SIDE = 32_000
"""Edge of the gigapixel image. It is not a multiple of a tile's edge, so that XYZ edge tiles are made, too."""

ROUNDS = 3
LIMIT_RATIO, LIMIT_MEMORY = 0.9, 1.15
LIMIT_PREVIEW = 2.0
"""Seconds, for an image of SIDE_OF_PREVIEWED."""
LIMIT_PROGRESS = 0.01

HEIGHTS = (4_096, 16_384)
MEMORY_WIDTH = 8_192
MEMORY_KINDS: dict[str, dict[str, object]] = {
    "jpg": {"Q": 90},
    "png": {"compression": 1},
    "tif": {"tile": True, "compression": "none"},
}

DZSAVE = """
import sys, pyvips
image = pyvips.Image.new_from_file(sys.argv[1], access="sequential")
image.dzsave(sys.argv[2], tile_size=256, overlap=0, Q=85)
"""


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.tiling")
    parser.add_argument("--side", type=int, default=SIDE, help="edge of the image in pixels")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    compare(options.side, options.rounds)


def compare(side: int = SIDE, rounds: int = ROUNDS) -> None:
    """Measure everything and print it."""
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name:
        folder = Path(name)
        compare_times(cached_picture(side), side, rounds, folder)
        time_previews(folder)
        measure_progress(cached_picture(), folder)
        compare_memory(folder)


def compare_times(picture: Path, side: int, rounds: int, folder: Path) -> None:
    """In each round, time plain dzsave, Tilewright without and with a preview, and the system's vips if installed."""
    (folder / "pictures").mkdir()
    times: dict[str, list[float]] = {}
    with served(folder / "pictures") as url:
        for number in range(rounds):
            path = variant(picture, number, folder / "pictures")
            times.setdefault("pyvips dzsave into a directory", []).append(bare([sys.executable, "-c", DZSAVE], path))
            if vips := shutil.which("vips"):
                options = ["--tile-size", "256", "--overlap", "0", "--suffix", ".jpg[Q=85]"]
                times.setdefault("the system's vips dzsave", []).append(bare([vips, "dzsave"], path, *options))
            for label, preview in (("message to READY", "false"), ("the same, with a preview", "true")):
                data = folder / f"data-{preview}-{number}"
                stack = launch(
                    data, allow_sources=[urlsplit(url).netloc], environment=os.environ | {"TILEWRIGHT_PREVIEW": preview}
                )
                try:
                    seconds = after_download(stack, f"{url}/{path.name}", until_ready)
                finally:
                    stack.stop()
                times.setdefault(label, []).append(seconds)
                shutil.rmtree(data)
            path.unlink()
    theirs = statistics.median(times["pyvips dzsave into a directory"])
    print(
        f"\nTiling, {side:,} x {side:,} JPEG of {picture.stat().st_size / 1e6:,.0f} MB, medians of {rounds}, as ratios"
    )
    for label, taken in times.items():
        limit = f"   at most {LIMIT_RATIO}" if label == "message to READY" else ""
        print(f"  {label:<32} {statistics.median(taken) / theirs:.2f}{limit}")


def bare(command: list[str], picture: Path, *options: str) -> float:
    """Return the seconds that a command takes to tile into a directory. Remove the directory."""
    target = picture.parent.parent / "by-hand"
    begun = time.perf_counter()
    subprocess.run([*command, str(picture), str(target), *options], check=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{target}_files")
    Path(f"{target}.dzi").unlink()
    return seconds


def after_download(stack: LaunchedStack, url: str, until: Callable[[pb.DatasetStatus], bool]) -> float:
    """Return the seconds from the end of a download until `until` accepts the status, as statussvc sends it."""
    made = requests.post(f"{stack.url}/api/datasets", json={"name": "bench", "url": url}, timeout=30).json()
    begun = None
    with grpc.insecure_channel(stack.grpc_address, options=CLIENT_OPTIONS) as channel:
        stub = pb_grpc.StatusServiceStub(channel)
        for change in stub.WatchDataset(pb.WatchDatasetRequest(dataset_id=made["dataset_id"])):
            if begun is None and change.status.state in {pb.STATE_DOWNLOADED, pb.STATE_TILING}:
                begun = time.perf_counter()
            if begun is not None and until(change.status):
                return time.perf_counter() - begun
    raise RuntimeError(f"{url} ended: {change.status}")


def until_ready(status: pb.DatasetStatus) -> bool:
    return status.state == pb.STATE_READY


def until_preview(status: pb.DatasetStatus) -> bool:
    return status.HasField("preview")


def time_previews(folder: Path) -> None:
    """Measure how long after its download an image has a preview: a JPEG shrunk, and a TIFF by an overview."""
    pictures = folder / "previewed"
    pictures.mkdir()
    shutil.copy(cached_picture(), pictures / "baseline.jpg")
    whole = pyvips.Image.new_from_file(str(cached_picture()), access="sequential")
    whole.tiffsave(str(pictures / "pyramid.tif"), tile=True, pyramid=True, compression="jpeg", Q=90)
    print(f"\nPreview of {SIDE_OF_PREVIEWED:,} x {SIDE_OF_PREVIEWED:,} pixels, from the download's end", end="")
    print(f" (at most {LIMIT_PREVIEW:g} s)")
    for path in sorted(pictures.iterdir()):
        with served(pictures) as url:
            stack = launch(folder / f"data-{path.stem}", allow_sources=[urlsplit(url).netloc])
            try:
                seconds = after_download(stack, f"{url}/{path.name}", until_preview)
            finally:
                stack.stop()
        print(f"  {path.name:<12} {seconds:.2f} s")
    shutil.rmtree(pictures)


def measure_progress(picture: Path, folder: Path) -> None:
    """Measure what progress reports cost: their number in one tiling, times the cost of one.

    The difference between a tiling with reports and one without is smaller than that between two runs.
    """
    image = pyvips.Image.new_from_file(str(picture), access="sequential")
    words = _followed(image)
    before = time.process_time()
    image.dzsave(str(folder / "followed.szi"), container="szi")
    work = time.process_time() - before
    heard: list[float] = []
    silent: list[float] = []
    told = 0
    for _ in range(ROUNDS):
        for times in (heard, silent):
            # Almost no work, and thousands of reports.
            light = pyvips.Image.black(2_000, 100_000).copy()
            counted = _followed(light) if times is heard else None
            before = time.process_time()
            light.avg()
            times.append(time.process_time() - before)
            told = counted[0] if counted else told
    cost = words[0] * max(0.0, min(heard) - min(silent)) / told
    print(f"\nProgress: {words[0]:,} reports take {cost / work:.2%} of a tiling's work (at most {LIMIT_PROGRESS:.0%})")


def _followed(image: pyvips.Image) -> list[int]:
    """Make libvips report an image's progress. Return the number of reports, in a list of one number."""
    count = [0]

    def counted(_percent: float, _fraction: float) -> None:
        count[0] += 1

    meter = Meter(counted)
    meter.begin(1.0)
    follow(image, meter)
    return count


def compare_memory(folder: Path) -> None:
    """Compare the peak memory of the tiler's child with plain dzsave, for images of one width and growing height."""
    print(f"\nPeak memory in MiB, {MEMORY_WIDTH:,} pixels wide, tiler's child / dzsave (at most {LIMIT_MEMORY} times)")
    print("  and the ratio for the child with a preview")
    for ending, options in MEMORY_KINDS.items():
        line = []
        for height in HEIGHTS:
            source = folder / f"source.{ending}"
            whole = pyvips.Image.new_from_file(str(cached_picture()), access="sequential")
            whole.crop(0, 0, MEMORY_WIDTH, height).write_to_file(str(source), **options)
            ours, theirs = peak_of_child(source, folder), peak_of_dzsave(source, folder)
            more = peak_of_child(source, folder, preview=True)
            line.append(
                f"{height:>6,} high {ours / 2**20:4.0f} / {theirs / 2**20:4.0f} = {ours / theirs:.2f}"
                f", {more / theirs:.2f}"
            )
            source.unlink()
        print(f"  {ending:<4}" + "   ".join(line))


def peak_of_child(source: Path, folder: Path, *, preview: bool = False) -> int:
    """Return the peak memory, in bytes, of a child that tiles a source."""
    scratch = folder / "scratch"
    scratch.mkdir()
    job = Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 10**12, "8.18.3", preview=preview)
    environment = sandbox.environment(scratch, libvips.environment(0))
    with (
        parent.Child(COMMAND, JOBS.encode(job), folder=scratch, environment=environment) as child,
        watched(child.pid, "child", "other") as peaks,
    ):
        said = list(child.lines())
    if b"built" not in said[-1]:
        raise RuntimeError(f"the child did not build: {said[-1]!r}")
    shutil.rmtree(scratch)
    return peaks.of["child"]


def peak_of_dzsave(source: Path, folder: Path) -> int:
    """Return the peak memory, in bytes, of plain dzsave into a directory."""
    target = folder / "by-hand"
    process = subprocess.Popen([sys.executable, "-c", DZSAVE, str(source), str(target)])
    with watched(process.pid, "dzsave", "other") as peaks:
        exit_code = process.wait()
    if exit_code:
        raise RuntimeError(f"dzsave ended with {exit_code}")
    shutil.rmtree(f"{target}_files")
    Path(f"{target}.dzi").unlink()
    return peaks.of["dzsave"]


if __name__ == "__main__":
    main()
