"""What `make soak` does besides: absences as long as the design speaks of, and how quickly a cancel reaches a run."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pyvips

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture, new_pictures
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants, children, keys
from tests.faults.names import deaf_name_service
from tests.support.images import pictures
from tests.support.network.answers import gated, silent, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until

RESTARTS = 30
"""Ten deployments a day for three days of one download."""

ABSENCE = 60.0
"""Seconds that statussvc is away: twenty of these farms' leases."""

ROUNDS = 9
"""Cancels of each kind, of which the median and the longest are told."""

CANCELLED = Expected(state=pb.STATE_CANCELLED, code="cancelled")


def run_long_forms(farm: Farm, sources: SourceServer, folder: Path) -> Iterator[str]:
    """Runs all of them on one farm, and gives a line on each. Raises AssertionError where a promise is broken."""
    picture = new_pictures(folder)
    yield thirty_orderly_restarts(farm, sources, picture)
    yield a_minute_without_statussvc(farm, sources, picture)
    yield from cancels(farm, sources, picture, folder)


def thirty_orderly_restarts(farm: Farm, sources: SourceServer, picture: NewPicture) -> str:
    """One worker process is stopped and started in the middle of one download."""
    data, gate = picture(), threading.Event()
    dataset_id = farm.submit(sources.on("/thirty.jpg", gated(data, 300_000, gate)))
    for count in range(1, RESTARTS + 1):
        sources.wait_for("/thirty.jpg", count)
        farm.await_state(dataset_id, pb.STATE_DOWNLOADING, attempt=count)
        farm.ingest.restart()
    gate.set()
    farm.finish(dataset_id)
    runs = [run for run in farm.rows("runs") if run["dataset_id"] == dataset_id and run["stage"] == "INGEST"]
    check_invariants(farm, {dataset_id: Expected(data, attempts=len(runs))})
    return f"{RESTARTS} orderly restarts of one worker in mid-download: ready, no crash, no retry"


def a_minute_without_statussvc(farm: Farm, sources: SourceServer, picture: NewPicture) -> str:
    """A download and a tiling are at work, and end meanwhile."""
    tiled, loaded, gate = picture(), picture(), threading.Event()
    # The tiler is frozen in its child and goes on when statussvc is away.
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    first = farm.submit(sources.on("/minute-tiling.jpg", whole(tiled)))
    until(mark.exists, "a frozen child")
    second = farm.submit(sources.on("/minute-download.jpg", gated(loaded, 300_000, gate)))
    farm.await_state(second, pb.STATE_DOWNLOADING)
    farm.statussvc.down()
    for child in children(farm):
        child.resume()
    gate.set()
    threading.Event().wait(ABSENCE)
    farm.statussvc.start()
    for dataset_id in (first, second):
        farm.finish(dataset_id)
    check_invariants(farm, {first: Expected(tiled), second: Expected(loaded)})
    return f"statussvc away for {ABSENCE:.0f} s while workers work: ready, at no cost"


def cancels(farm: Farm, sources: SourceServer, picture: NewPicture, folder: Path) -> Iterator[str]:
    """Seconds from the POST of a cancel until socket, child and scratch are gone."""
    farm.ingest.begin_anew(**deaf_name_service(folder))
    with ExitStack() as gates:
        for name, start in kinds(farm, sources, picture, folder, gates).items():
            seconds = []
            for number in range(ROUNDS):
                dataset_id = start(number)
                seconds.append(cancel(farm, sources, dataset_id))
                check_invariants(farm, {dataset_id: CANCELLED})
            yield f"cancel {name}: {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s"


def kinds(
    farm: Farm, sources: SourceServer, picture: NewPicture, folder: Path, gates: ExitStack
) -> dict[str, Callable[[int], str]]:
    """How to have a run blocked there; each gives its dataset's id."""
    huge = pyvips.Image.new_from_array(pictures.scene(1000, 1000)).copy(interpretation="srgb").replicate(12, 12)
    decoded: bytes = huge.jpegsave_buffer(Q=80)
    gate = threading.Event()
    gates.callback(gate.set)

    def looking_up(number: int) -> str:
        host = f"slow{number}.test"
        dataset_id = farm.submit(f"http://{host}/a.jpg")
        until((folder / host).exists, "a question to the name service")
        return dataset_id

    def waiting_for_headers(number: int) -> str:
        path = f"/headers-{number}.jpg"
        dataset_id = farm.submit(sources.on(path, silent(gate)))
        sources.wait_for(path)
        farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
        return dataset_id

    def in_the_body(number: int) -> str:
        dataset_id = farm.submit(sources.on(f"/body-{number}.jpg", gated(picture(), 300_000, gate)))
        farm.watches[dataset_id].wait_for(lambda status: status.progress.bytes_downloaded > 0, "at work")
        return dataset_id

    def decoding(number: int) -> str:
        dataset_id = farm.submit(sources.on(f"/huge-{number}.jpg", whole(decoded)))
        farm.watches[dataset_id].wait_for(lambda status: status.progress.tiles_done > 0, "at work")
        return dataset_id

    return {
        "in a look-up of a name": looking_up,
        "before the headers": waiting_for_headers,
        "in the body": in_the_body,
        "in a decoder at work": decoding,
    }


def cancel(farm: Farm, sources: SourceServer, dataset_id: str) -> float:
    """Cancels, and gives the seconds until nothing of the run is left."""
    asked = time.perf_counter()
    assert farm.act("POST", dataset_id, "/cancel") == 200
    until(lambda: not list(keys(farm, "scratch")), "an empty scratch")
    until(lambda: not list(children(farm)), "the end of the child")
    until(lambda: not connected(farm, sources.port), "a closed socket")
    return time.perf_counter() - asked


def connected(farm: Farm, port: int) -> bool:
    """Whether a worker of downloads has a connection to a port."""
    for process in psutil.Process(farm.ingest.pid).children(recursive=True):
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port == port:
                return True
    return False
