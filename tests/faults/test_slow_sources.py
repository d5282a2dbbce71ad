"""Sources that are only just fast enough, or silent: they hold no slot that others wait for, and nobody is to blame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import limited, silent, whole
from tests.support.network.sources import Behaviour, SourceServer, serve
from tests.support.rigs import servers
from tests.support.rigs.waiting import LIMIT, until

CROWD = 120
"""Datasets of one host. When each was put back in its turn, every hundredth was let through."""

SLOTS = 4
"""Of the ingest worker and of the inspect worker, as compose has them."""

RATE = 6000
"""Bytes a second that a dripping source sends: above what every source has to send, and hours for a picture."""


@pytest.fixture
def hosts() -> Iterator[list[SourceServer]]:
    """Five hosts, by their addresses."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(host=f"127.0.0.{number}")) for number in range(2, 7)]


@pytest.fixture
def slow_farm(tmp_path: Path, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str) -> Iterator[Farm]:
    """A farm whose downloads have turns of a second, in which a header would not come at the rate of a drip."""
    database = f"sqlite:///{tmp_path}/rows.sqlite3"
    farm = Farm(
        tmp_path,
        rabbitmq_server,
        rabbitmq_url,
        database,
        "127.0.0.0/8",
        TILEWRIGHT_SLOT_SECONDS="1",
        TILEWRIGHT_INSPECT_ANSWER_TIMEOUT="1",
        TILEWRIGHT_PREFLIGHT_MIN_BYTES=str(10**9),
    )
    farm.ingest = farm.add_worker("ingest", "ingest", threads=SLOTS)
    try:
        farm.start()
        yield farm
    finally:
        farm.close()


def address(server: SourceServer, number: int, path: str, behaviour: Behaviour) -> str:
    """The URL of a path of the host 127.0.0.<number>."""
    server.on(path, behaviour)
    return server.url(path, f"127.0.0.{number}")


def posted(farm: Farm, url: str, **options: int) -> str:
    """The id of a dataset that nobody watches."""
    body = {"name": "Crowd", "url": url, **options}
    answer = farm.session.post(f"{farm.url}/api/datasets", json=body, timeout=60)
    return str(answer.json()["dataset_id"])


@pytest.mark.parametrize("spread", [False, True], ids=["one host", "four hosts"])
def test_an_honest_dataset_is_ready_while_every_slot_is_dripped_at(
    slow_farm: Farm, hosts: list[SourceServer], picture: NewPicture, spread: bool
) -> None:
    farm = slow_farm
    # Given sources that drip in every slot
    drips = []
    for number in range(SLOTS):
        host = number if spread else 0
        url = address(hosts[host], host + 2, f"/drip-{number}.jpg", limited(picture(), RATE, pause=0.1))
        drips.append(farm.submit(url))
    for dataset_id in drips:
        farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    # When an honest one comes
    data = picture()
    honest = farm.submit(address(hosts[4], 6, "/honest.jpg", whole(data)))
    # Then it ends ready while they drip on
    assert farm.finish(honest).state == pb.STATE_READY
    rows = [farm.row(dataset_id) for dataset_id in drips]
    assert {row["state"] for row in rows} <= {"QUEUED", "DOWNLOADING"}
    # And one of them at least has given way, and is not to blame for it
    assert max(row["attempt"] for row in rows) > 1
    assert {(row["retries"], row["crashes"], row["error_code"]) for row in rows} == {(0, 0, None)}
    # And with nobody waiting they go on, from where they were
    gave_way = next(row["dataset_id"] for row in rows if row["attempt"] > 1)
    resumed = farm.watches[gave_way].wait_for(
        lambda status: status.attempt > 1 and status.progress.bytes_kept > 0, "gone on with"
    )
    assert resumed.state == pb.STATE_DOWNLOADING
    for dataset_id in drips:
        assert farm.act("POST", dataset_id, "/cancel") == 200
        farm.finish(dataset_id)
    cancelled = {
        dataset_id: Expected(state=pb.STATE_CANCELLED, code="cancelled", attempts=farm.row(dataset_id)["attempt"])
        for dataset_id in drips
    }
    check_invariants(farm, cancelled | {honest: Expected(data)})


def test_a_crowd_of_one_host_is_not_before_all_others(
    slow_farm: Farm, hosts: list[SourceServer], picture: NewPicture
) -> None:
    farm = slow_farm
    # Given a queue in which a crowd of one host comes first, however long, and nobody at work yet
    farm.ingest.down()
    gate = threading.Event()
    url = address(hosts[0], 2, "/crowd.jpg", silent(gate))
    crowd = [posted(farm, url) for _ in range(CROWD)]
    data = picture()
    honest = farm.submit(address(hosts[4], 6, "/honest.jpg", whole(data)))
    until(lambda: all(row["published_at"] for row in farm.rows()), "a published queue")
    # When a worker comes
    farm.ingest.begin_anew()
    # Then the other host's is the second that begins, though the crowd is silent and came first
    assert farm.finish(honest).state == pb.STATE_READY
    began = [run["dataset_id"] for run in sorted(farm.rows("runs"), key=lambda run: run["begun_at"])]
    assert began[0] in crowd
    assert began[1] == honest
    assert farm.row(honest)["attempt"] == 1
    for dataset_id in crowd:
        assert farm.act("DELETE", dataset_id, "") == 204
    gate.set()


def test_costly_builds_of_one_host_leave_the_next_slot_to_another(
    slow_farm: Farm, hosts: list[SourceServer], picture: NewPicture
) -> None:
    farm = slow_farm
    # Given one source's builds with many options, then another host's image, and no tiler yet
    farm.tiler.down()
    url = address(hosts[0], 2, "/costly.jpg", whole(picture()))
    builds = [farm.watch(posted(farm, url, quality=quality)) for quality in range(50, 54)]
    for dataset_id in builds:
        farm.await_state(dataset_id, pb.STATE_DOWNLOADED)
    data = picture()
    honest = farm.submit(address(hosts[4], 6, "/honest.jpg", whole(data)))
    farm.await_state(honest, pb.STATE_DOWNLOADED)
    until(lambda: all(row["published_at"] for row in farm.rows()), "a published queue")
    # When a tiler comes, then the other host's is the second that it builds
    farm.tiler.begin_anew()
    for dataset_id in (*builds, honest):
        assert farm.finish(dataset_id).state == pb.STATE_READY
    began = [
        run["dataset_id"]
        for run in sorted(farm.rows("runs"), key=lambda run: run["begun_at"])
        if run["stage"] == "TILER"
    ]
    assert began[1] == honest
    assert sorted(began) == sorted([*builds, honest])
    check_invariants(farm, {honest: Expected(data)})


def test_silent_inspections_do_not_hold_up_another(
    slow_farm: Farm, hosts: list[SourceServer], picture: NewPicture
) -> None:
    farm = slow_farm
    farm.add_worker("inspect", "ingest", module="inspect_worker", threads=SLOTS).start()

    def ask(url: str) -> str:
        answer = farm.session.post(f"{farm.url}/api/inspections", json={"url": url}, timeout=LIMIT)
        return str(answer.headers["Location"])

    # Given inspections of sources that say nothing, in every slot
    gate = threading.Event()
    held = [ask(address(hosts[number], number + 2, f"/silent-{number}.jpg", silent(gate))) for number in range(SLOTS)]
    for number in range(SLOTS):
        hosts[number].wait_for(f"/silent-{number}.jpg")
    # When another is asked for
    path = ask(address(hosts[4], 6, "/looked-at.jpg", whole(picture())))
    # Then it has its report while they would say nothing for ever, and they are told so
    until(lambda: farm.get(path, "status") == "ready", "a report")
    assert not gate.is_set()
    until(lambda: {farm.get(one, "error", "code") for one in held} == {"source_timeout"}, "the ends of the silent ones")
    # Two limits end in the same second, of an answer and of silence: either may be the first to speak.
    for number, one in enumerate(held):
        message = farm.get(one, "error", "message")
        assert f"127.0.0.{number + 2}" in message
        assert "did not answer within 1 seconds" in message or "sent nothing for too long" in message
    gate.set()
