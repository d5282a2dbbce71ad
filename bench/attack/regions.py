"""A stranger who asks for thousands of different regions of an image, the largest first, while others look at tiles.

Goals: whoever asks for a region gets it, or 503 with Retry-After; tiles are served all the while; the memory of the
processes that make regions, and the cache, stay within their limits.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

from bench.main import tiled
from bench.picture import cached_picture
from tilewright.commands.pictures import served
from tilewright.embedded import launched

SIDE = 8192

SECONDS = 40

STRANGERS = 100
"""Connections of the stranger: more than may wait."""

MOST_MIB = 200
"""Goal: memory of each process that makes regions."""

CACHE_BYTES = 20 << 20
"""Setting, so that the cache is filled in this time."""

LARGEST = (
    "{at},0,300,300/^max/{turn}/default.png",  # enlarged as far as it goes
    "0,{at},8192,511/8192,511/{turn}/default.webp",
    "{at},0,4095,4095/2048,2048/{turn}/default.png",  # the most tiles
    "{at},{at},1,1/^2048,2048/{turn}/default.jpg",
    "{at},0,1,8192/1,1/{turn}/gray.jpg",  # distorted
)
"""Regions of which no two are the same for a long time: `at` is below 4,000, and `turn` has eight values."""


def main() -> int:
    """Print the table, and return 1 if a goal was missed."""
    picture = cached_picture(SIDE)
    os.environ["TILEWRIGHT_IIIF_CACHE_BYTES"] = str(CACHE_BYTES)  # for the stack
    with tempfile.TemporaryDirectory(prefix="tilewright-attack-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        (folder / "pictures" / "image.jpg").symlink_to(picture)
        with (
            served(folder / "pictures") as url,
            launched(folder / "data", allow_sources=[urlsplit(url).netloc]) as stack,
        ):
            _, tile_id = tiled(stack.url, f"{url}/image.jpg")
            answers, peak, tiles = _attack(stack.url, tile_id, stack.process.pid)
            cache = sum(path.stat().st_size for path in (folder / "data").rglob("iiif-cache/**/*") if path.is_file())
    peak_mib, cache_mib = peak / 2**20, cache / 2**20
    print(f"  answers                          {dict(sorted(answers.items()))}   only 200 and 503")
    print(f"  memory of the largest process    {peak_mib:.0f} MiB   at most {MOST_MIB}")
    print(f"  cache                            {cache_mib:.0f} MiB   at most {CACHE_BYTES >> 20}")
    print(f"  tiles meanwhile                  {dict(sorted(tiles.items()))}   only 200")
    is_fine = set(answers) <= {200, 503} and answers[200] and set(tiles) == {200}
    return 0 if is_fine and peak_mib <= MOST_MIB and cache <= CACHE_BYTES else 1


def _attack(server: str, tile_id: str, pid: int) -> tuple[Counter[int], int, Counter[int]]:
    """Return the answers to the stranger, the largest memory of a process that makes regions, and answers to others."""
    over = time.monotonic() + SECONDS
    answers: Counter[int] = Counter()
    tiles: Counter[int] = Counter()
    lock = threading.Lock()

    def stranger(number: int) -> None:
        with requests.Session() as session:
            count = number
            while time.monotonic() < over:
                count += STRANGERS
                turn = f"{'!' if count // 4000 & 4 else ''}{90 * (count // 4000 % 4)}"
                path = LARGEST[(count + count // STRANGERS) % len(LARGEST)].format(at=count % 4000, turn=turn)
                status = session.get(f"{server}/iiif/{tile_id}/{path}", timeout=120).status_code
                with lock:
                    answers[status] += 1

    def viewer() -> None:
        with requests.Session() as session:
            while time.monotonic() < over:
                tiles[session.get(f"{server}/tiles/{tile_id}_files/9/0_0.jpg", timeout=60).status_code] += 1

    peak = 0
    with ThreadPoolExecutor(STRANGERS + 1) as threads:
        work = [threads.submit(stranger, number) for number in range(STRANGERS)] + [threads.submit(viewer)]
        while time.monotonic() < over:
            peak = max(peak, _memory(pid))
            time.sleep(0.05)
        for one in work:
            one.result()
    return answers, peak, tiles


def _memory(pid: int) -> int:
    """Return the memory of the largest child that makes regions, in bytes."""
    most = 0
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if "pipeline.regions.child" in child.cmdline():
                most = max(most, child.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return most
