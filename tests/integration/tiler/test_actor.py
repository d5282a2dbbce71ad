"""The tiler's actor: from a wake-up to stored files and an outcome."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from PIL import Image

from pipeline.errors import StageError, Stopped
from pipeline.messages import publish
from pipeline.pyramids.geometry import Format
from pipeline.run import Run
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage, source_key
from pipeline.tile_formats import NUMBERS
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import pictures
from tiler import actor, parent
from tiler.settings import TilerSettings

TILE_ID = "a" * 64
WAKE_UP = pb.WakeUp(dataset_id="custom_0123abcd", attempt=1, stage=pb.STAGE_TILER)


class RemoteStorage(DirectoryStorage):
    """A storage whose objects have no path of their own, as a bucket's."""

    def local_path(self, key: str) -> Path | None:
        return None


@pytest.fixture
def settings(tmp_path: Path) -> TilerSettings:
    return TilerSettings(storage=tmp_path / "storage")


@pytest.fixture(params=[DirectoryStorage, RemoteStorage])
def storage(request: pytest.FixtureRequest, settings: TilerSettings) -> DirectoryStorage:
    kind: type[DirectoryStorage] = request.param
    return kind(settings.storage)


@pytest.fixture
def grant(storage: DirectoryStorage, tmp_path: Path) -> pb.Grant:
    """A grant for a stored JPEG of 700 x 300 pixels."""
    content = pictures.jpeg(tmp_path / "source.jpg", 700, 300).read_bytes()
    key = source_key("custom_0123abcd", 1)
    storage.put_file(tmp_path / "source.jpg", key)
    return pb.Grant(
        source_key=key,
        tile_id=TILE_ID,
        source_bytes=len(content),
        source_sha256=hashlib.sha256(content).hexdigest(),
        options=pb.TileOptions(tile_size=0),
    )


def keys(storage: DirectoryStorage, prefix: str) -> list[str]:
    return sorted(key for key in storage.list_prefix(prefix) if key != f"{prefix}/")


def test_a_stored_source_becomes_a_stored_pyramid(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage
) -> None:
    # Given a granted run
    run = Run("r" * 32, WAKE_UP, grant)
    # When its work is done
    result = actor.tile(run, settings, storage)
    # Then the files lie below the run's own id, and nothing else is left
    names = ("edges.bin", "full.jpg", "pyramid.json", "pyramid.szi", "thumbnail.jpg", "tiles.idx")
    assert keys(storage, "pyramids") == [f"pyramids/{TILE_ID}/{'r' * 32}/{name}" for name in names]
    assert keys(storage, "scratch") == []
    assert keys(storage, "sources") == [grant.source_key]
    # And the result says what they are
    stored = sum(storage.size(key) for key in storage.list_prefix("pyramids"))
    assert result == pb.TilerResult(width=700, height=300, format=pb.TILE_FORMAT_JPEG, tile_count=17, bytes=stored)
    assert run.snapshot()[0].progress == pb.Progress(tiles_done=17, tiles_total=17, stage_percent=100.0)


@pytest.fixture
def large(grant: pb.Grant, storage: DirectoryStorage, tmp_path: Path) -> pb.Grant:
    """A grant for a stored JPEG of 4,000 x 2,400 pixels."""
    content = pictures.jpeg(tmp_path / "large.jpg", 4000, 2400).read_bytes()
    storage.put_file(tmp_path / "large.jpg", grant.source_key)
    grant.source_bytes = len(content)
    return grant


def test_a_preview_is_stored_and_told_before_the_pyramid(
    large: pb.Grant, settings: TilerSettings, storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a storage that notes what is told when something is stored
    run = Run("r" * 32, WAKE_UP, large)
    told: list[tuple[str, pb.ReportProgressRequest]] = []
    real = storage.put_file

    def put_file(path: Path, key: str) -> None:
        real(path, key)
        told.append((path.name, run.snapshot()[0]))

    monkeypatch.setattr(storage, "put_file", put_file)
    # When a large JPEG is tiled
    actor.tile(run, settings, storage)
    # Then its header is told first, then its preview, then come the pyramid's files
    assert [name for name, _ in told][:3] == ["preview-thumbnail.jpg", "preview.jpg", "pyramid.szi"]
    assert told[0][1].source == pb.SourceInfo(format="jpeg", width=4000, height=2400, pages=1)
    key = f"pyramids/{TILE_ID}/{'r' * 32}/preview.jpg"
    assert not told[1][1].HasField("preview")
    assert told[2][1].preview == pb.Preview(width=1024, height=614, key=key)
    assert pictures.decode(storage.get_range(key, 0, storage.size(key))).shape == (614, 1024, 3)


def test_no_preview_is_made_where_the_operator_wants_none(large: pb.Grant, storage: DirectoryStorage) -> None:
    run = Run("r" * 32, WAKE_UP, large)
    actor.tile(run, TilerSettings(storage=storage.root, preview=False), storage)
    assert not run.snapshot()[0].HasField("preview")
    assert not any(key.endswith("preview.jpg") for key in keys(storage, "pyramids"))


@pytest.mark.parametrize(
    ("options", "extension", "expected"),
    [
        (pb.TileOptions(format=pb.TILE_FORMAT_PNG), "png", {"format": "png", "quality": None}),
        (pb.TileOptions(format=pb.TILE_FORMAT_WEBP, quality=40), "webp", {"format": "webp", "quality": 40}),
        (pb.TileOptions(quality=93), "jpg", {"format": "jpg", "quality": 93}),
        (pb.TileOptions(tile_size=512), "jpg", {"format": "jpg", "quality": 85}),
    ],
)
def test_the_tile_options_of_the_grant_are_followed(
    options: pb.TileOptions,
    extension: str,
    expected: dict[str, object],
    grant: pb.Grant,
    settings: TilerSettings,
    storage: DirectoryStorage,
) -> None:
    grant.options.CopyFrom(options)
    result = actor.tile(Run("r" * 32, WAKE_UP, grant), settings, storage)
    assert result.format == NUMBERS[Format(extension)]
    key = f"pyramids/{TILE_ID}/{'r' * 32}/pyramid.json"
    description = json.loads(storage.get_range(key, 0, storage.size(key)))
    assert {name: description.get(name) for name in expected} == expected
    assert description["tile_size"] == (options.tile_size or 256)


def test_the_page_of_the_grant_is_tiled(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage, tmp_path: Path
) -> None:
    # Given a TIFF of two pages of different sizes
    pages = [Image.fromarray(pictures.scene(width, 100)) for width in (200, 300)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    grant.source_bytes = (tmp_path / "pages.tif").stat().st_size
    storage.put_file(tmp_path / "pages.tif", grant.source_key)
    # When its second is asked for, then that is tiled
    grant.options.page = 1
    run = Run("r" * 32, WAKE_UP, grant)
    assert actor.tile(run, settings, storage).width == 300
    assert run.snapshot()[0].source == pb.SourceInfo(format="tiff", width=300, height=100, pages=2)
    # When its third is asked for, then it is said that there is none
    grant.options.page = 2
    with pytest.raises(StageError, match="Page 2 was requested, counted from 0, but this TIFF has 2 pages") as caught:
        actor.tile(Run("q" * 32, WAKE_UP, grant), settings, storage)
    assert (caught.value.code, caught.value.retryable) == ("page_not_found", False)


def test_the_description_is_stored_last(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    real = storage.put_file

    def put_file(path: Path, key: str) -> None:
        stored.append(path.name)
        real(path, key)

    monkeypatch.setattr(storage, "put_file", put_file)
    actor.tile(Run("r" * 32, WAKE_UP, grant), settings, storage)
    assert stored[-1] == "pyramid.json"
    assert len(stored) == 6


def test_a_source_that_is_gone_is_missing(grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage) -> None:
    storage.delete_prefix(grant.source_key)
    with pytest.raises(StageError) as caught:
        actor.tile(Run("r" * 32, WAKE_UP, grant), settings, storage)
    assert (caught.value.code, caught.value.retryable) == ("source_missing", True)
    assert keys(storage, "scratch") == keys(storage, "pyramids") == []


def test_a_source_of_another_length_is_missing(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage
) -> None:
    grant.source_bytes += 1
    with pytest.raises(StageError) as caught:
        actor.tile(Run("r" * 32, WAKE_UP, grant), settings, storage)
    assert caught.value.code == "source_missing"


def test_a_limit_of_the_settings_reaches_the_child(grant: pb.Grant, storage: DirectoryStorage) -> None:
    settings = TilerSettings(storage=storage.root, max_pixels=1000)
    with pytest.raises(StageError) as caught:
        actor.tile(Run("r" * 32, WAKE_UP, grant), settings, storage)
    assert caught.value.code == "image_too_large"
    assert keys(storage, "scratch") == []


def test_a_stopped_run_stores_nothing(grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage) -> None:
    run = Run("r" * 32, WAKE_UP, grant)
    run.stop("cancelled")
    with pytest.raises(Stopped):
        actor.tile(run, settings, storage)
    assert keys(storage, "scratch") == keys(storage, "pyramids") == []


class Status(StatusClient):
    """Grants one stage and keeps the outcome; stands for statussvc, whose own tests are elsewhere."""

    def __init__(self, grant: pb.Grant) -> None:
        super().__init__("127.0.0.1:1")
        self.grant = grant
        self.begun: list[pb.BeginStageRequest] = []
        self.outcomes: list[pb.CompleteStageRequest | pb.FailStageRequest] = []

    def begin_stage(self, request: pb.BeginStageRequest) -> pb.BeginStageResponse:
        self.begun.append(request)
        return pb.BeginStageResponse(grant=self.grant)

    def report_progress(self, request: pb.ReportProgressRequest) -> pb.ReportProgressResponse:
        return pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_CONTINUE)

    def complete_stage(self, request: pb.CompleteStageRequest) -> pb.CompleteStageResponse:
        self.outcomes.append(request)
        return pb.CompleteStageResponse(answer=pb.ANSWER_WON)

    def fail_stage(self, request: pb.FailStageRequest) -> pb.FailStageResponse:
        self.outcomes.append(request)
        return pb.FailStageResponse(answer=pb.ANSWER_WON)


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    broker = StubBroker(middleware=[])
    yield broker
    broker.close()


def work_off(broker: StubBroker) -> None:
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    broker.join("tiler")
    worker.join()
    worker.stop()


def test_a_wake_up_on_the_queue_ends_with_a_complete_stage(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage, broker: StubBroker
) -> None:
    # Given a declared actor and a wake-up on its queue
    status = Status(grant)
    actor.declare(broker, settings, status, storage, threading.Event())
    publish(broker, WAKE_UP)
    # When a worker takes it
    work_off(broker)
    # Then the stage was begun for that attempt, and completed
    assert [request.wake_up for request in status.begun] == [WAKE_UP]
    assert [type(outcome) for outcome in status.outcomes] == [pb.CompleteStageRequest]
    complete = status.outcomes[0]
    assert isinstance(complete, pb.CompleteStageRequest)
    assert complete.run_id == status.begun[0].run_id
    assert (complete.tiler.width, complete.tiler.tile_count) == (700, 17)


def test_a_wake_up_for_a_lost_source_ends_with_a_fail_stage(
    grant: pb.Grant, settings: TilerSettings, storage: DirectoryStorage, broker: StubBroker
) -> None:
    storage.delete_prefix(grant.source_key)
    status = Status(grant)
    actor.declare(broker, settings, status, storage, threading.Event())
    publish(broker, WAKE_UP)
    work_off(broker)
    (outcome,) = status.outcomes
    assert isinstance(outcome, pb.FailStageRequest)
    assert (outcome.failure.code, outcome.failure.retryable) == ("source_missing", True)


@pytest.mark.parametrize(
    "lie",
    [
        *(
            '{"previewed": {"width": -1, "height": 99999999999999999999}}',
            '{"previewed": {"width": true, "height": 1}}',
        ),
        '{"progress": {"tiles_done": 1e999, "tiles_total": 1, "percent": NaN}}',
        '{"opened": {"format": "png", "width": 2147483648, "height": 1, "pages": 1}}',
        '{"failed": {"code": ["a list"], "message": {}}}',
        "[" * 60_000,
    ],
)
def test_a_child_that_was_taken_over_costs_its_dataset_and_nothing_else(
    lie: str,
    grant: pb.Grant,
    settings: TilerSettings,
    storage: DirectoryStorage,
    broker: StubBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two wake-ups, and a child for the first that says what protobuf would not take
    commands = iter([(sys.executable, "-I", "-c", f"print({lie!r})"), parent.COMMAND])
    build = parent.build
    monkeypatch.setattr(parent, "build", lambda run, job, **how: build(run, job, command=next(commands), **how))
    status = Status(grant)
    actor.declare(broker, settings, status, storage, threading.Event())
    for _ in range(2):
        publish(broker, WAKE_UP)
    # When one worker takes both
    work_off(broker)
    # Then the first ends with a code, and the second well
    failed, done = status.outcomes
    assert isinstance(failed, pb.FailStageRequest)
    assert isinstance(done, pb.CompleteStageRequest)
    assert failed.failure.code == "internal_error"
    assert "ValueError" in failed.failure.message or "Untrue" in failed.failure.message
