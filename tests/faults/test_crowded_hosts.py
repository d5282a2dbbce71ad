"""Workers that are processes of their own share the few connections that a host allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm, Row
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import limited, status
from tests.support.network.few_places import FewPlaces
from tests.support.network.sources import SourceServer
from tests.support.rigs.servers import RabbitServer
from tests.support.rigs.waiting import until

JOBS, PLACES, THREADS = 8, 2, 4
SECONDS = 2
"""For each picture over one connection: long enough for additional connections to be worth it."""


@pytest.fixture
def two_workers(
    tmp_path: Path, rabbitmq_server: RabbitServer, rabbitmq_url: str, sources: SourceServer
) -> Iterator[Farm]:
    """A farm with two ingest workers, each of which could download half of the batch at once."""
    allow, database = f"127.0.0.1:{sources.port}", f"sqlite:///{tmp_path}/rows.sqlite3"
    farm = Farm(tmp_path, rabbitmq_server, rabbitmq_url, database, allow)
    farm.ingest = farm.add_worker("ingest", "ingest", threads=THREADS)
    farm.add_worker("ingest-2", "ingest", threads=THREADS)
    try:
        farm.start()
        yield farm
    finally:
        farm.close()


def downloads(farm: Farm, *, ended: bool = False) -> list[Row]:
    """The runs that download, or have downloaded too, each with its worker."""
    return [run for run in farm.rows("runs") if run["stage"] == "INGEST" and (ended or run["ended_at"] is None)]


@pytest.mark.parametrize("code", [429, 503])
def test_two_workers_share_the_places_of_a_host_and_one_that_is_killed_frees_its_own(
    two_workers: Farm, sources: SourceServer, picture: NewPicture, code: int
) -> None:
    farm = two_workers
    # Given a host that answers two requests at once, and does not say when to come again
    host, pictures = FewPlaces(PLACES, status(code)), [picture() for _ in range(JOBS)]
    served = {
        f"/two-{code}-{number}.jpg": host.answer(limited(data, len(data) // SECONDS, f'"{number}"'))
        for number, data in enumerate(pictures)
    }
    # When eight pictures of it are submitted at once
    ids = [farm.submit(sources.on(path, behaviour)) for path, behaviour in served.items()]
    # Then both workers have asked it, and it is soon known how many it allows
    until(lambda: len({run["worker"] for run in downloads(farm, ended=True)}) == 2, "runs of both workers")
    until(lambda: [row["places"] for row in farm.rows("hosts")] == [PLACES], "a host that allows two")
    until(lambda: len(downloads(farm)) == PLACES, "two downloads")
    host.most = 0
    # When the worker with the oldest of the two downloads is killed
    killed = downloads(farm)[0]
    group = os.getpgid(int(killed["worker"].rpartition(":")[2]))
    next(service for service in farm.services.values() if service.pid == group).kill()
    # Then all become ready, and none has spent a retry
    for one in ids:
        farm.finish(one)
    ended = {one: farm.row(one) for one in ids}
    assert ended[killed["dataset_id"]]["crashes"] == 1
    check_invariants(
        farm,
        {
            one: Expected(data, attempts=ended[one]["attempt"], crashes=ended[one]["crashes"])
            for one, data in zip(ids, pictures, strict=True)
        },
    )
    # And the host was asked for little more than it allows: by the first rush, and by connections that join a download
    assert 0 < host.refused <= 3 * JOBS
    assert host.most <= PLACES + 2
