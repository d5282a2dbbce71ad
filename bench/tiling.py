"""The tiler against bare `dzsave` into a directory: time for a JPEG of a gigapixel, memory as pictures grow taller.

`make bench` prints it; `python -m bench.tiling` prints it alone. Ours is timed from the download's end, when the
tiler's message goes out, to READY, as a watcher of the dataset sees it.
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
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pyvips
import requests

from bench.memory import watched
from bench.picture import cached_picture, variant
from pipeline import libvips, parent, sandbox
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from tiler.job import JOBS, Job
from tiler.parent import COMMAND
from tilewright.launch import launch
from tilewright.pictures import served

SIDE = 32_000
"""Pixels of the gigapixel's edge. No multiple of a tile's, so that XYZ's edge tiles are made and paid for."""

ROUNDS = 3
LIMIT_RATIO, LIMIT_MEMORY = 0.9, 1.15

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
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.tiling")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of the picture's edge")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    compare(options.side, options.rounds)


def compare(side: int = SIDE, rounds: int = ROUNDS) -> None:
    """Measures and prints all of it."""
    with tempfile.TemporaryDirectory(prefix="tilewright-bench-") as name:
        folder = Path(name)
        compare_times(cached_picture(side), side, rounds, folder)
        compare_memory(folder)


def compare_times(picture: Path, side: int, rounds: int, folder: Path) -> None:
    """Each round: bare dzsave, ours, ours with a preview, and Debian's vips where it is installed."""
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
                    seconds = message_to_ready(stack.url, stack.grpc_address, f"{url}/{path.name}")
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
    """Seconds that a command takes to tile into a directory, which is removed again."""
    target = picture.parent.parent / "by-hand"
    begun = time.perf_counter()
    subprocess.run([*command, str(picture), str(target), *options], check=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{target}_files")
    Path(f"{target}.dzi").unlink()
    return seconds


def message_to_ready(server: str, grpc_address: str, url: str) -> float:
    """Seconds from the end of the download to READY, as statussvc tells a watcher."""
    made = requests.post(f"{server}/api/datasets", json={"name": "bench", "url": url}, timeout=30).json()
    begun = None
    with grpc.insecure_channel(grpc_address) as channel:
        stub = pb_grpc.StatusServiceStub(channel)
        for change in stub.WatchDataset(pb.WatchDatasetRequest(dataset_id=made["dataset_id"])):
            if begun is None and change.status.state in {pb.STATE_DOWNLOADED, pb.STATE_TILING}:
                begun = time.perf_counter()
            if change.status.state in {pb.STATE_READY, pb.STATE_FAILED}:
                break
    if begun is None or change.status.state != pb.STATE_READY:
        raise RuntimeError(f"the picture is not ready: {change.status}")
    return time.perf_counter() - begun


def compare_memory(folder: Path) -> None:
    """Peaks of our child and of bare dzsave, for pictures of one width and of growing height."""
    print(f"\nPeak memory in MiB, {MEMORY_WIDTH:,} pixels wide, tiler's child / dzsave (at most {LIMIT_MEMORY} times)")
    for ending, options in MEMORY_KINDS.items():
        line = []
        for height in HEIGHTS:
            source = folder / f"source.{ending}"
            whole = pyvips.Image.new_from_file(str(cached_picture()), access="sequential")
            whole.crop(0, 0, MEMORY_WIDTH, height).write_to_file(str(source), **options)
            ours, theirs = peak_of_child(source, folder), peak_of_dzsave(source, folder)
            line.append(f"{height:>6,} high {ours / 2**20:4.0f} / {theirs / 2**20:4.0f} = {ours / theirs:.2f}")
            source.unlink()
        print(f"  {ending:<4}" + "   ".join(line))


def peak_of_child(source: Path, folder: Path) -> int:
    """Bytes at most in memory of a child that tiles a source."""
    scratch = folder / "scratch"
    scratch.mkdir()
    job = Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 10**12, "8.18.3")
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
    """Bytes at most in memory of bare dzsave into a directory."""
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
