"""A crowd that polls statuses: measure how many are refused, whether runs expire, and how much slower the work becomes.

`python -m bench.attack crowd` takes about two minutes. The stack has its default settings.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import grpc

from bench.picture import cached_picture, variant
from pipeline.channels import CLIENT_OPTIONS
from pipeline.status import REPEATABLE
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from tilewright.commands.pictures import served
from tilewright.embedded import LaunchedStack, launch

A = TypeVar("A")
T = TypeVar("T")

COUNT = 3000
"""Concurrent connections."""

CROWDED = {"polite": 60.0, "rude": 20.0}
"""Seconds that each crowd polls: the polite one waits as Retry-After says, the rude one never waits."""

QUIET = 15.0
"""Seconds of work without a crowd, for comparison."""

LEAST_SPEED = 0.5
"""Lowest speed of the work, as a share of its speed without a crowd."""

SIDE = 2000
"""Edge in pixels of the images that are tiled."""

IMAGES = 500
"""Images to submit: more than can be tiled in the time."""

AT_WORK = 4
"""Images in work at once."""

POLLED = 50
"""Latest images, whose statuses the crowd polls: most are ready, some in work."""

WARM_UP = 3.0
"""Seconds of work before the first measurement."""

MARGIN = 500
"""File descriptors that the stack and the crowd need besides their connections."""


def main() -> int:
    """Run the attack and print the results. Return 1 if a goal was missed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * COUNT + MARGIN)), hard))
    with tempfile.TemporaryDirectory(prefix="tilewright-crowd-") as name:
        pictures = Path(name) / "pictures"
        pictures.mkdir()
        for number in range(IMAGES):
            variant(cached_picture(SIDE), number, pictures)
        with served(pictures) as url:
            stack = launch(Path(name) / "data", allow_sources=[urlsplit(url).netloc])
            try:
                with _Work(stack, url) as work:
                    return _attack(stack, work)
            finally:
                stack.stop()


def _attack(stack: LaunchedStack, work: _Work) -> int:
    work.speed(WARM_UP)
    quiet = work.speed(QUIET)
    print(f"without a crowd: {quiet:.2f} images per second")
    print(
        f"{'':8} {'answers':>9} {'200, 304':>9} {'503':>8} {'500':>5} {'cut':>5} {'median':>9} {'p99':>9} {'work':>6}"
    )
    missed = False
    for kind, seconds in CROWDED.items():
        arguments = [stack.url, *work.statuses[-POLLED:], "--count", str(COUNT), "--seconds", str(seconds)]
        with _pollers([*arguments, *(["--rude"] if kind == "rude" else [])]) as crowd:
            speed = work.speed(seconds) / quiet
            told = json.loads(crowd.communicate()[0])
        answers = {int(status): count for status, count in told["answers"].items()}
        fine, total = answers.get(200, 0) + answers.get(304, 0), sum(answers.values())
        errors = answers.get(500, 0)
        print(
            f"{kind:8} {total:9,} {fine:9,} {answers.get(503, 0):8,} {errors:5} {told['cut']:5}"
            f" {told['median_ms']:6,.0f} ms {told['p99_ms']:6,.0f} ms {speed:6.2f}"
        )
        missed |= bool(errors) or speed < LEAST_SPEED
    log = stack.log.read_text()
    died, tracebacks, blamed = log.count(" died"), log.count("Traceback"), work.blamed
    print(f"runs expired: {died}; images retried or failed: {blamed}")
    print(f"log: {len(log):,} bytes, {tracebacks} tracebacks")
    print(f"goals: no 500, no expired run, no traceback, at least {LEAST_SPEED:g} of the speed of the work")
    return int(missed or bool(died) or bool(blamed) or bool(tracebacks))


def _pollers(arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.attack.pollers", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class _Work:
    """Submits images, all different, so that a few are always in work."""

    def __init__(self, stack: LaunchedStack, url: str) -> None:
        self._channel = grpc.insecure_channel(stack.grpc_address, options=CLIENT_OPTIONS)
        self._status = pb_grpc.StatusServiceStub(self._channel)
        self._numbers, self._url = itertools.count(), url
        self._over = threading.Event()
        self.blamed = self._ready = 0
        self.statuses: list[str] = []
        self._threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(AT_WORK)]

    def __enter__(self) -> _Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def speed(self, seconds: float) -> float:
        """Return the images that become ready per second, measured over `seconds`."""
        before, began = self._ready, time.monotonic()
        time.sleep(seconds)
        return (self._ready - before) / (time.monotonic() - began)

    def _feed(self) -> None:
        while not self._over.is_set() and (number := next(self._numbers)) < IMAGES:
            dataset_id = self._again(self._create, number)
            self.statuses.append(f"/api/datasets/{dataset_id}/status")
            status = self._again(self._wait, dataset_id)
            self._ready += status.state == pb.STATE_READY
            self.blamed += status.state != pb.STATE_READY or status.attempt > 1

    def _create(self, number: int) -> str:
        request = pb.CreateDatasetRequest(
            name="crowd", url=f"{self._url}/round-{number}.jpg", idempotency_key=f"{id(self)}-{number}"
        )
        return self._status.CreateDataset(request).dataset.dataset_id

    def _wait(self, dataset_id: str) -> pb.DatasetStatus:
        for change in self._status.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id)):
            status = change.status
        return status

    def _again(self, call: Callable[[A], T], argument: A) -> T:
        while True:
            try:
                return call(argument)
            except grpc.RpcError as error:
                if error.code() not in REPEATABLE:
                    raise
                self._over.wait(0.1)
