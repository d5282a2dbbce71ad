"""The relay between a real statussvc and a real RabbitMQ."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import BrokerConnectionError

from gateway.background import relay as relay_module
from gateway.background.broker_link import BrokerAway, RabbitmqLink
from gateway.background.relay import Relay
from pipeline.errors import StatusUnavailable
from pipeline.messages import make_broker
from pipeline.status import StatusClient
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.rpc.pipeline_service import PipelineService
from tests.support.rigs import gateway_rig, servers, status_rig
from tests.support.rigs.servers import free_port
from tests.support.rigs.status_rig import Status
from tests.support.rigs.waiting import until

LIMIT = 60.0
"""Seconds after which a test gives up what it waits for."""


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as rig:
        yield rig


class Watched(StatusClient):
    """A client that tells of each confirm it made."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.confirmed = 0
        self._changed = threading.Condition()

    def confirm_published(self, wake_up: pb.WakeUp) -> None:
        super().confirm_published(wake_up)
        with self._changed:
            self.confirmed += 1
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Return when so many wake-ups are confirmed."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.confirmed >= count, LIMIT), self.confirmed


@contextmanager
def relaying(address: str, broker: dramatiq.Broker, **options: Any) -> Iterator[tuple[Relay, Watched]]:
    """A running relay, and its client."""
    client = Watched(address)
    relay = Relay(client, broker, **options)
    relay.start()
    try:
        yield relay, client
    finally:
        relay.stop()
        broker.close()
        client.close()


def messages(url: str, queue: str) -> list[Any]:
    """Take all messages out of a queue, oldest first."""
    broker = make_broker(url)
    try:
        taken: list[Any] = []
        while True:
            method, properties, body = broker.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return taken
            assert properties.delivery_mode == 2  # outlives the broker's restart
            taken.append(json.loads(body))
    finally:
        broker.close()


def test_what_is_pending_is_published_and_confirmed(status: Status, rabbitmq_url: str) -> None:
    # Given two datasets committed before the relay starts, and one that waits for the tiler
    first, second, third = status.create(), status.create(), status.create()
    status.begin(third, "1" * 32)
    status.complete_ingest("1" * 32)
    with relaying(status.address, make_broker(rabbitmq_url)) as (relay, client):
        client.wait_for(2)
        # When another is committed and the relay poked
        fourth = status.create()
        relay.poke()
        client.wait_for(3)
        assert relay.state() == "ok"
    # Then each is one message that names its row, for the actor that is meant
    published = messages(rabbitmq_url, "ingest")
    assert [message["kwargs"] for message in published] == [
        {"dataset_id": dataset_id, "attempt": 1} for dataset_id in (first, second, fourth)
    ]
    assert {message["actor_name"] for message in published} == {"ingest.download.fetch"}
    # And none is pending any more; the tiler's is leased by the worker that was to publish it
    assert status.pending() == []


NEWER = pb.WakeUp(dataset_id="custom_00000099", attempt=1, stage=99)  # type: ignore[arg-type]  # what this version lacks


def test_a_stage_of_a_newer_statussvc_holds_up_nothing(
    rabbitmq_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a statussvc that was upgraded before its gateway: ahead of all else waits what this version has no stage for
    lease_pending = PipelineService.LeasePending

    async def newer(self: PipelineService, request: pb.LeasePendingRequest, context: Any) -> pb.LeasePendingResponse:
        leased = await lease_pending(self, request, context)
        return pb.LeasePendingResponse(wake_ups=[NEWER, *leased.wake_ups])

    monkeypatch.setattr(PipelineService, "LeasePending", newer)
    # When datasets are posted
    with (
        status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as status,
        relaying(status.address, make_broker(rabbitmq_url)) as (relay, client),
        gateway_rig.serving(status.address, tmp_path / "storage", relay) as gateway,
    ):
        ids = [gateway.submit()]
        client.wait_for(1)
        ids.append(gateway.submit())
        client.wait_for(2)
        assert relay.state() == "ok"
    # Then they are published, and the other is told once
    assert [message["kwargs"]["dataset_id"] for message in messages(rabbitmq_url, "ingest")] == ids
    told = [record.message for record in caplog.records if NEWER.dataset_id in record.message]
    assert len(told) == 1
    assert "stage 99" in told[0]


def test_an_empty_queue_of_a_newer_relay_is_ignored(status: Status) -> None:
    # Given a relay that was upgraded before statussvc, and has a queue more
    dataset_id = status.create()
    # When it tells that that one is empty, then it is given what waits
    assert status.pending(empty_queues=[99]) == [(dataset_id, 1, pb.STAGE_INGEST)]


def test_more_than_one_batch_is_published(status: Status, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "BATCH", 3)
    ids = [status.create() for _ in range(10)]
    with relaying(status.address, make_broker(rabbitmq_url)) as (_, client):
        client.wait_for(10)
    assert [message["kwargs"]["dataset_id"] for message in messages(rabbitmq_url, "ingest")] == ids


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes connections to one port on to another, from the moment it is made: a broker that starts late."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        super().__init__(("127.0.0.1", port), Forwarding)


class Forwarding(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        assert isinstance(self.server, Forwarder)
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            ends = {self.request: onward, onward: self.request}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)


@contextmanager
def forwarding(port: int, target: int) -> Iterator[None]:
    """A forwarder at work."""
    with Forwarder(port, target) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_broker_that_is_away_at_the_start_is_found_when_it_comes(
    status: Status, tmp_path: Path, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str
) -> None:
    # Given a relay whose broker is not there
    port = free_port()
    url = rabbitmq_url.replace(f":{rabbitmq_server.port}/", f":{port}/")
    with ExitStack() as stack:
        relay, client = stack.enter_context(relaying(status.address, make_broker(url)))
        gateway = stack.enter_context(gateway_rig.serving(status.address, tmp_path / "storage", relay))
        # When datasets are submitted meanwhile, then they are accepted, and /readyz says what is wrong
        ids = [gateway.submit() for _ in range(3)]
        readiness = gateway.get("/readyz")
        while "cannot be reached" not in readiness.json()["checks"]["broker"]:
            readiness = gateway.get("/readyz")
        assert (readiness.status_code, readiness.json()["status"]) == (200, "degraded")
        assert readiness.json()["checks"]["broker"].startswith(f"RabbitMQ at 127.0.0.1:{port} cannot be reached")
        assert client.confirmed == 0
        # And when the broker comes, then they are published without a restart
        stack.enter_context(forwarding(port, rabbitmq_server.port))
        client.wait_for(3)
        assert gateway.get("/readyz").json()["status"] == "ok"
        assert sorted(message["kwargs"]["dataset_id"] for message in messages(url, "ingest")) == sorted(ids)


def test_a_connection_that_the_broker_closed_is_made_anew(
    status: Status, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str
) -> None:
    with relaying(status.address, make_broker(rabbitmq_url)) as (relay, client):
        status.create()
        relay.poke()
        client.wait_for(1)
        # When the broker closes the relay's connection
        vhost = rabbitmq_url.rsplit("/", 1)[1]
        closed: list[Any] = []
        while not closed:
            closed = rabbitmq_server.api("GET", f"vhosts/{vhost}/connections")  # type: ignore[assignment]  # JSON
        for connection in closed:
            rabbitmq_server.api("DELETE", "connections/" + connection["name"].replace(" ", "%20").replace(">", "%3E"))
        # Then the next dataset is published all the same
        status.create()
        relay.poke()
        client.wait_for(2)
    assert len(messages(rabbitmq_url, "ingest")) == 2


def test_statussvc_that_is_away_is_found_when_it_comes(tmp_path: Path, rabbitmq_url: str) -> None:
    # Given a relay whose statussvc is not there
    port = free_port()
    with relaying(f"127.0.0.1:{port}", make_broker(rabbitmq_url)) as (_, client):
        # When it comes, with a dataset
        with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}", port=port) as status:
            status.create()
            client.wait_for(1)
    assert len(messages(rabbitmq_url, "ingest")) == 1


def test_which_queues_are_empty_is_seen(rabbitmq_url: str, status: Status) -> None:
    broker = make_broker(rabbitmq_url)
    link = RabbitmqLink(broker)
    try:
        # Given queues that nobody has declared, then they hold nothing
        assert link.empty_queues() == [pb.STAGE_INGEST, pb.STAGE_TILER, pb.STAGE_INSPECT]
        # When one has a message, then only the others are empty, and the connection is as good as before
        status.create()
        with relaying(status.address, make_broker(rabbitmq_url)) as (_, client):
            client.wait_for(1)
        assert link.empty_queues() == [pb.STAGE_TILER, pb.STAGE_INSPECT]
        link.touch()
        messages(rabbitmq_url, "ingest")
        assert link.empty_queues() == [pb.STAGE_INGEST, pb.STAGE_TILER, pb.STAGE_INSPECT]
    finally:
        link.close()
        broker.close()


def test_a_link_to_nowhere_says_where() -> None:
    port = free_port()
    link = RabbitmqLink(make_broker(f"amqp://user:secret@127.0.0.1:{port}/"))
    for ask in (link.touch, link.empty_queues):
        with pytest.raises(BrokerAway, match=rf"^RabbitMQ at 127\.0\.0\.1:{port} cannot be reached \(\w+\)\.$"):
            ask()


class ScriptedLink:
    """A link whose broker can be away, and whose queues can be empty."""

    def __init__(self, empty: Sequence[pb.Stage.ValueType] = ()) -> None:
        self.away = ""
        self.empty = empty
        self.touched = threading.Event()

    def touch(self) -> None:
        self.touched.set()
        if self.away:
            raise BrokerAway(self.away)

    def empty_queues(self) -> Sequence[pb.Stage.ValueType]:
        return self.empty

    def close(self) -> None:
        pass


class ScriptedStatus(StatusClient):
    """A statussvc that leases what it was given, and notes what it was asked."""

    def __init__(self, *batches: list[pb.WakeUp] | Exception) -> None:
        super().__init__("nowhere")
        self.batches = list(batches)
        self.asked: list[pb.LeasePendingRequest] = []
        self.confirmed: list[pb.WakeUp] = []
        self.drained = threading.Event()

    def lease_pending(self, request: pb.LeasePendingRequest) -> pb.LeasePendingResponse:
        self.asked.append(request)
        if not self.batches:
            self.drained.set()
            return pb.LeasePendingResponse()
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return pb.LeasePendingResponse(wake_ups=batch)

    def confirm_published(self, wake_up: pb.WakeUp) -> None:
        self.confirmed.append(wake_up)


class Refusing(StubBroker):
    """A broker that refuses the first few messages."""

    def __init__(self, refusals: int) -> None:
        super().__init__(middleware=[])
        self.refusals = refusals

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        if self.refusals:
            self.refusals -= 1
            raise BrokerConnectionError("no")  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
        return super().enqueue(message, delay=delay)


def wake_up(number: int) -> pb.WakeUp:
    """A wake-up for ingest."""
    return pb.WakeUp(dataset_id=f"custom_{number:08x}", attempt=1, stage=pb.STAGE_INGEST)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses too short to be noticed."""
    for name in ("IDLE_INTERVAL", "FIRST_BACK_OFF", "LONGEST_BACK_OFF"):
        monkeypatch.setattr(relay_module, name, 0.01)


def run_until_drained(status: ScriptedStatus, broker: dramatiq.Broker, link: ScriptedLink | None = None) -> Relay:
    """Run a relay until statussvc has nothing left for it."""
    relay = Relay(status, broker, link)
    relay.start()
    try:
        assert status.drained.wait(LIMIT)
    finally:
        relay.stop()
        broker.close()
    return relay


def test_what_is_refused_is_not_confirmed_but_published_first_the_next_time(quick: None) -> None:
    # Given a broker that refuses twice
    broker = Refusing(2)
    broker.declare_queue("ingest")
    status = ScriptedStatus([wake_up(1), wake_up(2)], [wake_up(3)])
    relay = run_until_drained(status, broker)
    # Then all are published and confirmed in their order, each once
    assert status.confirmed == [wake_up(1), wake_up(2), wake_up(3)]
    assert broker.queues["ingest"].qsize() == 3
    assert relay.state() == "ok"


def test_whatever_goes_wrong_the_relay_lives_on(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    broker = StubBroker(middleware=[])
    broker.declare_queue("ingest")
    status = ScriptedStatus(StatusUnavailable("away"), ValueError("a bug"), [wake_up(1)])
    run_until_drained(status, broker)
    assert status.confirmed == [wake_up(1)]
    assert "statussvc: away" in caplog.text
    assert "the relay failed; trying again" in caplog.text


def test_a_broker_without_the_queue_fails_in_words(quick: None) -> None:
    # Given an embedded broker on which no actor was declared
    broker, status = StubBroker(middleware=[]), ScriptedStatus([wake_up(1)])
    relay = Relay(status, broker)
    relay.start()
    try:
        while relay.state() in ("ok", "The broker has not been reached yet."):
            pass
        assert relay.state() == "The relay failed (QueueNotFound)."
        # When it is declared, then the message goes out
        broker.declare_queue("ingest")
        assert status.drained.wait(LIMIT)
        assert status.confirmed == [wake_up(1)]
    finally:
        relay.stop()
        broker.close()


def test_empty_queues_are_looked_at_once_and_then_not_for_a_while(quick: None) -> None:
    broker = StubBroker(middleware=[])
    broker.declare_queue("ingest")
    status = ScriptedStatus([wake_up(1)], [])
    run_until_drained(status, broker, ScriptedLink(empty=[pb.STAGE_TILER]))
    assert list(status.asked[0].empty_queues) == [pb.STAGE_TILER]
    assert [list(request.empty_queues) for request in status.asked[1:]] == [[]] * (len(status.asked) - 1)


def test_nothing_is_leased_while_the_broker_is_away(quick: None) -> None:
    # Given a broker that is away: what is leased now could not be leased by another for a while
    link, status, broker = ScriptedLink(), ScriptedStatus(), StubBroker(middleware=[])
    link.away = "It is away."
    relay = Relay(status, broker, link)
    relay.start()
    try:
        for _ in range(3):
            link.touched.clear()
            assert link.touched.wait(LIMIT)
        assert relay.state() == "It is away."
        assert status.asked == []
        # When it is back
        link.away = ""
        assert status.drained.wait(LIMIT)
        assert relay.state() == "ok"
    finally:
        relay.stop()
        broker.close()


def test_a_poke_wakes_the_relay_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a relay that would rest for an hour
    monkeypatch.setattr(relay_module, "IDLE_INTERVAL", 3600.0)
    status, broker = ScriptedStatus(), StubBroker(middleware=[])
    broker.declare_queue("ingest")
    relay = Relay(status, broker)
    relay.start()
    try:
        assert status.drained.wait(LIMIT)
        status.drained.clear()
        # When it is poked
        status.batches.append([wake_up(1)])
        relay.poke()
        # Then it publishes
        until(lambda: status.confirmed, "a confirm")
    finally:
        # And it stops at once, too
        relay.stop()
        broker.close()


def test_a_relay_that_was_never_started_can_be_stopped() -> None:
    Relay(ScriptedStatus(), StubBroker(middleware=[])).stop()
