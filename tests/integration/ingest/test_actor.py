"""The ingest actor against a real statussvc and a real source: from a wake-up to the tiler's."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from ingest import actor
from ingest.actor import ingest
from ingest.dependencies import Dependencies
from ingest.http.cancellation import Cancellation
from ingest.http.guard import Guard
from ingest.http.hosts import Hosts
from ingest.settings import IngestSettings
from pipeline.messages import publish
from pipeline.pyramids.geometry import FILES
from pipeline.run import Run
from pipeline.sources import Allowed
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage, pyramid_key, source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.network import answers
from tests.support.network.sources import SourceServer, serve
from tests.support.rigs.losing_volume import losing_volume
from tests.support.rigs.status_rig import Status, running
from tests.support.rigs.waiting import until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(500_000)
SHA256 = hashlib.sha256(PNG).hexdigest()


@dataclass
class House:
    """A source server, statussvc, storage and one ingest worker."""

    server: SourceServer
    status: Status
    storage: DirectoryStorage
    broker: StubBroker
    stopping: threading.Event
    published: list[pb.WakeUp] = field(default_factory=list)
    broken: bool = False

    def publish(self, wake_up: pb.WakeUp) -> None:
        if self.broken:
            raise dramatiq.DramatiqError("no broker")  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
        self.published.append(wake_up)

    def submit(self, url: str, sha256: str = "") -> str:
        request = pb.CreateDatasetRequest(name="Earth", url=url, sha256=sha256)
        dataset_id = self.status.users.CreateDataset(request).dataset.dataset_id
        # Leased as the relay does it, so that nothing but the worker's own lease is pending afterwards.
        (leased,) = self.status.pipeline.LeasePending(pb.LeasePendingRequest()).wake_ups
        publish(self.broker, leased)
        return dataset_id

    def again(self, dataset_id: str, attempt: int) -> None:
        """Wakes the worker for a later attempt, as the relay does once it is due."""
        publish(self.broker, pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=pb.STAGE_INGEST))
        wait(self)

    def finish(self, dataset_id: str, build: str) -> None:
        """Has the dataset tiled, so that its download counts as one to build on."""
        tile_id = self.status.begin(dataset_id, build, stage=pb.STAGE_TILER).tile_id
        for name in FILES:
            path = self.storage.scratch(build) / name
            path.touch()
            self.storage.put_file(path, pyramid_key(tile_id, build, name))
        self.storage.drop_scratch(build)
        self.status.complete_tiler(build)

    def stored(self) -> list[str]:
        """All keys, scratch included, without the empty folders at the top."""
        tops = ("sources", "scratch")
        return [key for top in tops for key in self.storage.list_prefix(top) if key.rstrip("/") not in tops]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path, tmp_path / "storage") as made:
        yield made


@contextmanager
def a_house(tmp_path: Path, root: Path) -> Iterator[House]:
    served = tmp_path / "served"
    served.mkdir()
    (served / "x.png").write_bytes(PNG)
    broker = StubBroker(middleware=[])
    with serve(served) as server, running(f"sqlite:///{tmp_path}/rows.sqlite3", retry_base_seconds=30.0) as status:
        client = StatusClient(status.address)
        storage = DirectoryStorage(root)
        made = House(server, status, storage, broker, threading.Event())
        # By one connection, and without a look at headers: these pictures have none.
        settings = IngestSettings(
            allow_sources=("127.0.0.1",),
            storage=storage.root,
            source_connections=1,
            preflight_min_bytes=10**9,
            disk_reserve_bytes=0,
        )
        actor.declare(broker, settings, client, storage, made.stopping, publish=made.publish)
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
        worker.start()
        yield made
        made.stopping.set()
        worker.stop()
        client.close()
    broker.close()


def wait(house: House) -> None:
    house.broker.join("ingest", timeout=30_000)


def test_a_source_is_stored_under_its_key_and_the_tiler_is_woken(house: House) -> None:
    # Given a submitted picture
    dataset_id = house.submit(house.server.url("/x.png"))
    # When the worker is done
    wait(house)
    # Then the original lies under its attempt's key, and scratch is empty
    key = source_key(dataset_id, 1)
    assert house.storage.get_range(key, 0, len(PNG) + 1) == PNG
    assert house.stored() == [key]
    # And statussvc knows its length
    status = house.status.get(dataset_id)
    assert house.status.state(dataset_id) == "DOWNLOADED"
    assert (status.progress.bytes_downloaded, status.progress.bytes_total) == (len(PNG), len(PNG))
    # And its hash, by which the tiler's grant names it
    assert house.published == [pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_TILER)]
    grant = house.status.begin(dataset_id, "f" * 32, stage=pb.STAGE_TILER)
    assert (grant.source_key, grant.source_sha256, grant.source_bytes) == (key, SHA256, len(PNG))


def test_a_source_that_cannot_be_had_fails_with_its_code(house: House) -> None:
    dataset_id = house.submit(house.server.url("/missing.png"))
    wait(house)
    failure = house.status.get(dataset_id).failure
    assert house.status.state(dataset_id) == "FAILED"
    assert (failure.code, failure.retryable) == ("source_not_found", False)
    assert failure.message.startswith("127.0.0.1 answered 404 Not Found")
    assert house.stored() == []
    assert house.published == []


def test_a_link_that_was_rewritten_is_told_even_if_all_is_over_at_once(house: House) -> None:
    # Given two info.json, of which one leads to a picture
    for name in ("there", "away"):
        info = {"@context": "http://iiif.io/api/image/3/context.json", "id": house.server.url(f"/{name}")}
        house.server.on(f"/{name}/info.json", answers.whole(json.dumps(info).encode()))
    house.server.on("/there/full/max/0/default.jpg", answers.ranges(PNG))
    # When both are fetched
    ids = {name: house.submit(house.server.url(f"/{name}/info.json")) for name in ("there", "away")}
    wait(house)
    # Then both outcomes say what was requested
    for name, state in (("there", "DOWNLOADED"), ("away", "FAILED")):
        assert house.status.state(ids[name]) == state
        rewritten = house.status.get(ids[name]).rewritten
        assert (rewritten.rule, rewritten.url) == ("IIIF", house.server.url(f"/{name}/full/max/0/default.jpg"))
    # And one that names what may not be requested fails for that, and shows nothing of it
    for number, address in enumerate(("http://user:password@127.0.0.1/a", house.server.url("/" + "a" * 9000))):
        info = {"@context": "http://iiif.io/api/image/3/context.json", "id": address}
        refused = house.submit(house.server.on(f"/refused-{number}", answers.whole(json.dumps(info).encode())))
        wait(house)
        status = house.status.get(refused)
        assert (status.failure.code, status.HasField("rewritten")) == ("source_invalid_url", False)
    # And the picture's validators do not stand for the info.json's
    house.finish(ids["there"], "a" * 32)
    # (It is not published, so that the worker does not begin it.)
    again = house.status.create(url=house.server.url("/there/info.json"))
    assert not house.status.begin(again, "b" * 32).HasField("known")


def test_bytes_that_the_disk_loses_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with losing_volume(tmp_path, monkeypatch) as volume, a_house(tmp_path, volume.path) as house:
        # Given a disk that takes bytes and loses them
        (volume.path / "scratch").mkdir()
        (volume.path / "sources").mkdir()
        volume.lose()
        # When a source is fetched to it
        dataset_id = house.submit(house.server.url("/x.png"))
        wait(house)
        # Then the download has failed, to be tried again, and nothing of it is stored
        failure = house.status.get(dataset_id).failure
        assert house.status.state(dataset_id) == "QUEUED"
        assert (failure.code, failure.retryable) in {("storage_unavailable", True), ("out_of_disk", True)}
        assert house.stored() == []
        assert house.published == []


def test_a_busy_source_waits_as_long_as_it_asked(house: House) -> None:
    # Given a server that asks to be left alone for two minutes
    dataset_id = house.submit(house.server.on("/busy.png", answers.status(503, {"Retry-After": "120"})))
    # When the worker has tried
    wait(house)
    # Then the dataset waits, and says why and until when
    status = house.status.get(dataset_id)
    assert house.status.state(dataset_id) == "QUEUED"
    assert status.failure.code == "source_unavailable"
    assert status.retry_time.seconds - status.queue_time.seconds >= 119
    assert status.attempt == 2


def test_a_cancel_reaches_a_download_that_is_blocked(house: House) -> None:
    # Given a download whose server holds the rest back
    gate = threading.Event()
    dataset_id = house.submit(house.server.on("/slow.png", answers.gated(PNG, 1000, gate)))
    house.server.wait_for("/slow.png")
    # When it is cancelled
    house.status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    # Then the worker is free again while the server still holds back, and nothing is left
    wait(house)
    assert not gate.is_set()
    assert house.status.state(dataset_id) == "CANCELLED"
    assert house.stored() == []


def test_a_download_of_known_length_tells_its_percent(house: House) -> None:
    # Given a download whose server holds the rest back after a thousand bytes
    gate = threading.Event()
    dataset_id = house.submit(house.server.on("/slow.png", answers.gated(PNG, 1000, gate)))
    # When it is watched, Then its share of the stage is told
    watch = house.status.users.WatchDataset(pb.WatchDatasetRequest(dataset_id=dataset_id), timeout=30)
    status = next(one.status for one in watch if one.status.progress.bytes_downloaded)
    watch.cancel()
    assert status.progress.stage_percent == pytest.approx(100 * status.progress.bytes_downloaded / len(PNG))
    assert status.percent == pytest.approx(status.progress.stage_percent / 2)
    gate.set()
    wait(house)


def test_a_worker_that_is_asked_to_stop_gives_its_download_back(house: House) -> None:
    # Given a download that is blocked
    dataset_id = house.submit(house.server.on("/slow.png", answers.gated(PNG, 1000, threading.Event())))
    house.server.wait_for("/slow.png")
    # When the worker is asked to stop
    house.stopping.set()
    wait(house)
    # Then the dataset waits for another worker, and no failure is counted
    assert house.status.state(dataset_id) == "QUEUED"
    assert house.status.get(dataset_id).attempt == 2
    assert not house.status.get(dataset_id).HasField("failure")
    assert house.stored() == []


BIG = b"\x89PNG\r\n\x1a\n" + hashlib.shake_128(b"big").digest(2_000_000)


def begun_at(house: House, path: str) -> list[str | None]:
    return [headers["Range"] for headers in house.server.headers[path]]


def test_a_retry_goes_on_where_the_failed_run_stopped(house: House) -> None:
    # Given a download that broke, and whose server then asked to be left alone
    busy = answers.status(503, {"Retry-After": "60"})
    first = answers.sequence(answers.breaking(BIG, 1_000_000), busy, answers.ranges(BIG))
    dataset_id = house.submit(house.server.on("/big.png", first))
    wait(house)
    assert house.status.state(dataset_id) == "QUEUED"
    assert house.status.get(dataset_id).failure.code == "source_unavailable"
    # When it is tried again
    house.again(dataset_id, 2)
    # Then only the rest was fetched, and the source is the whole
    assert begun_at(house, "/big.png") == ["bytes=0-", "bytes=1000000-2000007", "bytes=1000000-"]
    assert house.storage.get_range(source_key(dataset_id, 2), 0, len(BIG) + 1) == BIG
    # And nothing else is left
    assert house.stored() == [source_key(dataset_id, 2)]


def test_a_download_that_was_given_back_goes_on_where_it_stopped(house: House) -> None:
    # Given a download that is held up in its middle, and a worker that is asked to stop
    arrived, gate = threading.Event(), threading.Event()

    def held_up() -> None:
        arrived.set()
        house.server.wait_at(gate)

    first = answers.sequence(answers.gated_part(BIG, held_up), answers.ranges(BIG))
    dataset_id = house.submit(house.server.on("/big.png", first))
    assert arrived.wait(30)
    until(lambda: house.status.get(dataset_id).progress.bytes_downloaded == 1_000_000, "a megabyte")
    house.stopping.set()
    wait(house)
    assert house.status.state(dataset_id) == "QUEUED"
    # When another one takes it up
    house.stopping.clear()
    house.again(dataset_id, 2)
    gate.set()
    # Then it has fetched the rest
    assert begun_at(house, "/big.png") == ["bytes=0-", "bytes=1000000-"]
    assert house.storage.get_range(source_key(dataset_id, 2), 0, len(BIG) + 1) == BIG
    assert house.stored() == [source_key(dataset_id, 2)]


def test_a_cancelled_download_leaves_nothing_although_it_could_be_gone_on_with(house: House) -> None:
    # Given a download that could be gone on with
    arrived, gate = threading.Event(), threading.Event()

    def held_up() -> None:
        arrived.set()
        house.server.wait_at(gate)

    dataset_id = house.submit(house.server.on("/big.png", answers.gated_part(BIG, held_up)))
    assert arrived.wait(30)
    # When it is cancelled, then it is gone
    house.status.users.CancelDataset(pb.CancelDatasetRequest(dataset_id=dataset_id))
    wait(house)
    gate.set()
    assert house.stored() == []


def test_a_download_that_fails_for_good_leaves_nothing(house: House) -> None:
    challenge = answers.status(403, {"cf-mitigated": "challenge"})
    behaviour = answers.sequence(answers.breaking(BIG, 1_000_000), challenge)
    dataset_id = house.submit(house.server.on("/big.png", behaviour))
    wait(house)
    assert house.status.state(dataset_id) == "FAILED"
    assert house.stored() == []


def test_an_unchanged_file_is_not_fetched_again(house: House) -> None:
    # Given a finished dataset whose source is still stored
    url = house.server.on("/big.png", answers.ranges(BIG))
    first = house.submit(url)
    wait(house)
    house.finish(first, "a" * 32)
    # When the same URL is submitted again
    second = house.submit(url)
    wait(house)
    # Then the server was asked whether it has changed, and has sent nothing
    assert [headers["If-None-Match"] for headers in house.server.headers["/big.png"]] == [None, '"v1"']
    # And the second has the same bytes, under a key of its own
    assert house.status.state(second) == "READY"
    assert house.storage.get_range(source_key(second, 1), 0, len(BIG) + 1) == BIG
    status = house.status.get(second)
    assert status.progress.bytes_downloaded == len(BIG)
    assert status.pyramid.tile_id == house.status.get(first).pyramid.tile_id


@pytest.mark.parametrize("sha256", ["", hashlib.sha256(PNG).hexdigest()], ids=["any", "other bytes are wanted"])
def test_a_file_that_has_changed_or_is_gone_is_fetched_again(house: House, sha256: str) -> None:
    # Given a finished dataset whose stored source somebody has removed, or whose bytes are not those wanted now
    url = house.server.on("/big.png", answers.ranges(BIG))
    first = house.submit(url)
    wait(house)
    house.finish(first, "a" * 32)
    if sha256:
        house.server.on("/big.png", answers.ranges(PNG, '"v1"'))
    else:
        house.storage.delete_prefix(source_key(first, 1))
    # When the same URL is submitted again
    second = house.submit(url, sha256=sha256)
    wait(house)
    # Then it is fetched
    wanted = PNG if sha256 else BIG
    assert house.storage.get_range(source_key(second, 1), 0, len(BIG) + 1) == wanted


def test_bytes_that_are_not_those_wanted_are_refused_and_not_kept(house: House) -> None:
    # Given a file of other bytes than the request promises
    dataset_id = house.submit(house.server.on("/x.png", answers.whole(PNG)), sha256="0" * 64)
    # When it has been fetched
    wait(house)
    # Then it was so twice, and the failure is for good, and says so
    failure = house.status.get(dataset_id).failure
    assert house.server.requests["/x.png"] == 2
    assert (house.status.state(dataset_id), failure.code, failure.retryable) == ("FAILED", "source_corrupted", False)
    assert SHA256 in failure.message
    assert "the request says " + "0" * 64 in failure.message
    assert "check the sha256 in your request" in failure.message
    assert house.stored() == []


def test_bytes_that_were_damaged_on_the_way_are_fetched_again(house: House) -> None:
    # Given a server that sends other bytes at first
    damaged = PNG[:-1] + b"x"
    url = house.server.on("/x.png", answers.sequence(answers.whole(damaged), answers.whole(PNG)))
    # When it is fetched by a request that promises the right ones, then these are stored
    dataset_id = house.submit(url, sha256=SHA256)
    wait(house)
    assert house.storage.get_range(source_key(dataset_id, 1), 0, len(PNG) + 1) == PNG
    # And where they are other ones each time, a later attempt may have luck
    other = answers.sequence(*(answers.whole(PNG[:-1] + bytes([end])) for end in (1, 2)))
    dataset_id = house.submit(house.server.on("/y.png", other), sha256=SHA256)
    wait(house)
    failure = house.status.get(dataset_id).failure
    assert (failure.code, failure.retryable) == ("source_corrupted", True)
    assert house.server.requests["/y.png"] == 2


def test_a_download_that_waits_for_its_host_is_no_stall(house: House) -> None:
    # Given a host whose one place is taken
    settings = IngestSettings(source_host_connections=1)
    hosts = Hosts(settings.source_host_connections)
    hosts.enter("127.0.0.1", Cancellation(), lambda: None)
    run = Run("c" * 32, pb.WakeUp(), pb.Grant(url=house.server.url("/x.png"), source_key=source_key("custom_1", 1)))
    results: list[pb.IngestResult] = []
    dependencies = Dependencies(settings, Guard(Allowed(["127.0.0.1"])), hosts, house.storage)
    began = run.snapshot()[1]
    # When another one begins
    thread = threading.Thread(target=lambda: results.append(ingest(run, dependencies)))
    thread.start()
    # Then it waits, without asking, and says now and then that it lives
    until(lambda: run.snapshot()[1] > began, "a sign of life")
    assert house.server.requests["/x.png"] == 0
    # And goes on once there is a place
    hosts.leave("127.0.0.1")
    thread.join(30)
    assert [result.sha256 for result in results] == [SHA256]


def test_a_wake_up_that_cannot_be_published_is_left_to_the_relay(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a broker that is away when the download is done
    house.broken = True
    dataset_id = house.submit(house.server.url("/x.png"))
    # When the worker is done
    with caplog.at_level(logging.WARNING, "ingest.actor"):
        wait(house)
    # Then it has told so and ended well
    assert house.status.state(dataset_id) == "DOWNLOADED"
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [dataset_id]


def test_a_second_wake_up_of_the_same_attempt_fetches_nothing(house: House) -> None:
    # Given a dataset that is downloaded
    dataset_id = house.submit(house.server.url("/x.png"))
    wait(house)
    # When its message comes again
    publish(house.broker, pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST))
    wait(house)
    # Then nothing was fetched, and nothing changed
    assert house.server.requests["/x.png"] == 1
    assert house.status.state(dataset_id) == "DOWNLOADED"


def test_several_sources_are_fetched_at_once(house: House) -> None:
    # Given two downloads, each held back
    gate = threading.Event()
    urls = [house.server.on(f"/{n}.png", answers.gated(PNG, 1000, gate)) for n in range(2)]
    ids = [house.submit(url) for url in urls]
    # When both have been asked for at the same time
    for n in range(2):
        house.server.wait_for(f"/{n}.png")
    gate.set()
    wait(house)
    # Then both are there
    assert {house.status.state(dataset_id) for dataset_id in ids} == {"DOWNLOADED"}


def test_a_wrong_entry_of_the_allow_list_stops_the_worker_at_its_start(tmp_path: Path) -> None:
    settings = IngestSettings(allow_sources=("10.0.0.1/8",))
    broker = StubBroker(middleware=[])
    declare = partial(actor.declare, broker, settings, StatusClient("127.0.0.1:1"), DirectoryStorage(tmp_path))
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        declare(threading.Event(), publish=lambda wake_up: None)
    broker.close()
