"""RabbitMQ killed, stopped, blocked, purged, and filled with what nobody asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pika
import pytest

from pipeline.messages import make_broker, publish
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.conftest import started
from tests.faults.conftest import NewPicture, SharedFarm, lendable
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants
from tests.support.network.answers import gated, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs import servers
from tests.support.rigs.servers import OwnRabbit
from tests.support.rigs.waiting import until

CONSUMER_TIMEOUT = 2000
"""Milliseconds that this RabbitMQ lets a consumer hold a message."""


@pytest.fixture(scope="module")
def breaking_rabbit() -> Iterator[OwnRabbit]:
    yield from started(servers.rabbitmq(f"consumer_timeout = {CONSUMER_TIMEOUT}"))


@pytest.fixture
def rabbit(breaking_rabbit: OwnRabbit) -> OwnRabbit:
    """A RabbitMQ for the tests of this module to break."""
    breaking_rabbit.revive()
    return breaking_rabbit


@pytest.fixture(scope="module")
def shared_breaking_farm(
    breaking_rabbit: OwnRabbit, tmp_path_factory: pytest.TempPathFactory, sources: SourceServer
) -> Iterator[SharedFarm]:
    yield from lendable(partial(tmp_path_factory.mktemp, "breaking-farm"), breaking_rabbit, sources)


@pytest.fixture
def breaking_farm(
    shared_breaking_farm: SharedFarm, rabbit: OwnRabbit, request: pytest.FixtureRequest
) -> Iterator[Farm]:
    """A farm on that RabbitMQ."""
    with shared_breaking_farm.lend(request.node.stash) as farm:
        yield farm


def broker_state(farm: Farm) -> str:
    return str(farm.get("/readyz", "checks", "broker"))


def stop_in_order(rabbit: OwnRabbit) -> None:
    rabbit.control("stop_app")


def start_in_order(rabbit: OwnRabbit) -> None:
    rabbit.control("start_app")


@pytest.mark.parametrize(
    ("end", "begin"),
    [(OwnRabbit.kill, OwnRabbit.start), (stop_in_order, start_in_order)],
    ids=["killed", "stopped"],
)
def test_a_broker_that_is_killed_or_stopped_loses_nothing_and_holds_up_no_post(
    breaking_farm: Farm,
    rabbit: OwnRabbit,
    sources: SourceServer,
    picture: NewPicture,
    end: Callable[[OwnRabbit], None],
    begin: Callable[[OwnRabbit], None],
    request: pytest.FixtureRequest,
) -> None:
    farm, name = breaking_farm, request.node.callspec.id
    gate = threading.Event()
    at_work, waiting, late = picture(), picture(), picture()
    # Given a download at work, and a dataset whose message waits in its queue
    first = farm.submit(sources.on(f"/{name}-at-work.jpg", gated(at_work, 300_000, gate)))
    farm.await_state(first, pb.STATE_DOWNLOADING)
    until(lambda: broker_state(farm) == "ok", "a reached broker")
    second = farm.submit(sources.on(f"/{name}-waiting.jpg", gated(waiting, 300_000, gate)))
    # When RabbitMQ is killed, or stopped as an operator does
    end(rabbit)
    until(lambda: "cannot be reached" in broker_state(farm), "a degraded gateway")
    # Then a POST is accepted all the same: the broker is not back before its answer
    third = farm.submit(sources.on(f"/{name}-late.jpg", whole(late)))
    assert farm.get("/readyz", "status") == "degraded"
    gate.set()
    # And the download that was at work is brought to its end
    farm.await_state(first, pb.STATE_DOWNLOADED)
    # And when RabbitMQ is back, all go on without a restart of anything
    starts = {name: service.pid for name, service in farm.services.items()}
    begin(rabbit)
    for dataset_id in (first, second, third):
        farm.finish(dataset_id)
    until(lambda: broker_state(farm) == "ok", "a reached broker")
    assert starts == {name: service.pid for name, service in farm.services.items()}
    check_invariants(farm, {first: Expected(at_work), second: Expected(waiting), third: Expected(late)})


@contextmanager
def out_of_memory(rabbit: OwnRabbit) -> Iterator[None]:
    rabbit.control("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")


def test_a_broker_that_an_alarm_blocks_holds_up_no_post(
    breaking_farm: Farm, rabbit: OwnRabbit, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data = breaking_farm, picture()
    # Given a RabbitMQ that is out of memory: it takes connections, and no message
    with out_of_memory(rabbit):
        # When datasets are submitted, then they are accepted
        dataset_id = farm.submit(sources.on("/blocked.jpg", whole(data)))
        # And /readyz says why they wait
        until(lambda: "disk alarm is set" in broker_state(farm), "a blocked broker")
        assert farm.get("/readyz", "status") == "degraded"
        assert farm.row(dataset_id)["state"] == "QUEUED"
    # And when the alarm is over, they go on
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data)})


def test_a_job_longer_than_the_consumer_timeout_is_done_once(
    breaking_farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data, gate = breaking_farm, picture(), threading.Event()
    # Given a download that goes on while RabbitMQ takes its message away and delivers it again
    dataset_id = farm.submit(sources.on("/long.jpg", gated(data, 300_000, gate)))
    farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    until(lambda: f"{dataset_id}: attempt 1 dropped: DROP_BUSY" in farm.ingest.log.read_text(), "a redelivery")
    # When it ends
    gate.set()
    farm.finish(dataset_id)
    # Then it was done once: the message that came again was dropped
    assert sources.requests["/long.jpg"] == 1
    check_invariants(farm, {dataset_id: Expected(data)})


def test_a_purged_queue_is_filled_again_by_itself(farm: Farm, sources: SourceServer, picture: NewPicture) -> None:
    # Given datasets whose messages wait, since no worker is there
    farm.ingest.down()
    farm.statussvc.restart(TILEWRIGHT_LOST_AFTER_SECONDS="2")
    farm.gateway.restart(TILEWRIGHT_QUEUE_CHECK_INTERVAL="1")
    made = [picture(), picture()]
    ids = [farm.submit(sources.on(f"/purged-{number}.jpg", whole(data))) for number, data in enumerate(made)]
    until(lambda: farm.queues().get("ingest", (0, 0))[0] == len(ids), "published messages")
    # When the queue is purged
    with pika.BlockingConnection(pika.URLParameters(farm.rabbitmq_url)) as connection:
        connection.channel().queue_purge("ingest")
    # Then they are published again
    until(lambda: farm.queues()["ingest"][0] >= len(ids), "messages that were published again")
    farm.ingest.start()
    for dataset_id in ids:
        farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data) for dataset_id, data in zip(ids, made, strict=True)})


def test_messages_that_are_doubled_late_early_or_rubbish_do_no_harm(
    farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    data, gate = picture(), threading.Event()
    dataset_id = farm.submit(sources.on("/doubled.jpg", gated(data, 300_000, gate)))
    farm.await_state(dataset_id, pb.STATE_DOWNLOADING)
    producer = make_broker(farm.rabbitmq_url)
    # Given a dataset at work, when its messages come again, too early, of an attempt past and one to come
    for attempt in (0, 1, 1, 2):
        for stage in (pb.STAGE_INGEST, pb.STAGE_TILER):
            publish(producer, pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=stage))
    # And messages of no dataset, and some that are none
    publish(producer, pb.WakeUp(dataset_id="custom_00000000", attempt=1, stage=pb.STAGE_TILER))
    rubbish = [
        b"\xff\x00 no JSON",
        b"[]",
        json.dumps({"actor_name": "nobody"}).encode(),
        message("ingest", "no.such.actor", dataset_id=dataset_id, attempt=1),
        message("ingest", "ingest.download.fetch", dataset_id=dataset_id),
        message("ingest", "ingest.download.fetch", dataset_id={"not": "an id"}, attempt="one"),
    ]
    for body in rubbish:
        producer.channel.basic_publish("", "ingest", body)
    producer.close()
    until(lambda: farm.queues()["ingest"] == (0, 1), "a queue that holds the download's message only")
    # Then the dataset ends as if nothing had been, and so does the next one
    gate.set()
    after = picture()
    next_id = farm.submit(sources.on("/after-rubbish.jpg", whole(after)))
    farm.finish(dataset_id)
    farm.finish(next_id)
    assert sources.requests["/doubled.jpg"] == 1
    # And messages that come when all is over find nothing to do
    producer = make_broker(farm.rabbitmq_url)
    for stage in (pb.STAGE_INGEST, pb.STAGE_TILER):
        publish(producer, pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=stage))
    producer.close()
    # And what could not be read was put aside, where an operator finds it
    farm.dead_letters += 4
    check_invariants(farm, {dataset_id: Expected(data), next_id: Expected(after)})


def message(queue: str, actor: str, **arguments: object) -> bytes:
    """A well-formed message of Dramatiq."""
    fields = {"queue_name": queue, "actor_name": actor, "args": [], "kwargs": arguments, "options": {}}
    return json.dumps(fields | {"message_id": "1", "message_timestamp": 1}).encode()


def test_two_gateways_publish_nothing_twice(
    farm: Farm, sources: SourceServer, picture: NewPicture, tmp_path: Path
) -> None:
    # Given two gateways, and no worker
    farm.ingest.down()
    port = servers.free_port()
    other = farm.add("gateway-2", ["-m", "gateway"], TILEWRIGHT_PORT=str(port))
    other.start()
    urls = (farm.url, f"http://127.0.0.1:{port}")
    until(lambda: answers(farm, urls[1]), "a second gateway")
    data = picture()
    source = sources.on("/twice.jpg", whole(data))
    # When datasets are submitted to both
    ids = []
    for number in range(30):
        answer = farm.session.post(
            f"{urls[number % 2]}/api/datasets", json={"name": "Earth", "url": source}, timeout=60
        )
        ids.append(farm.watch(answer.json()["dataset_id"]))
    until(lambda: all(farm.row(dataset_id)["published_at"] for dataset_id in ids), "published rows")
    # Then each was published once
    assert farm.queues()["ingest"] == (len(ids), 0)
    farm.ingest.start()
    for dataset_id in ids:
        farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(data) for dataset_id in ids[:2]})


def answers(farm: Farm, url: str) -> bool:
    try:
        return bool(farm.session.get(f"{url}/healthz", timeout=10).ok)
    except OSError:
        return False
