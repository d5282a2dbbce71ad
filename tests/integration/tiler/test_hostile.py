"""One worker of the tiler, given whatever harms: it lives, each dataset gets a code, and nothing is left behind."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import psutil
import pytest
from dramatiq.brokers.stub import StubBroker

from pipeline.errors import DATASET_CODES
from pipeline.messages import publish
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage, source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import hostile, pictures
from tiler import actor
from tiler.settings import TilerSettings

FILES = 100

EXPECTED = {
    "png of 60,000 squared": "image_too_large",
    "jpeg of the largest size": "image_too_large",
    "gif of the largest size": "image_too_large",
    "tiff of one vast strip": "image_too_large",
    "png interlaced": "image_too_large",
    "jpeg of more passes than any program makes": "decoder_too_slow",
    "jpeg whose passes hide behind markers without a length": "decoder_too_slow",
    "svg of a billion laughs": "unsupported_format",
    "svg that includes a file": "unsupported_format",
    "libvips' own format": "unsupported_format",
    "page": "not_an_image",
    "nothing": "not_an_image",
}
"""How some of them have to end."""


class Status(StatusClient):
    """Grants each stage once and keeps its outcome; stands for statussvc, whose own tests are elsewhere."""

    def __init__(self, grants: dict[str, pb.Grant]) -> None:
        super().__init__("127.0.0.1:1")
        self.grants = grants
        self.outcomes: dict[str, pb.TilerResult | pb.Failure] = {}
        self._runs: dict[str, str] = {}

    def begin_stage(self, request: pb.BeginStageRequest) -> pb.BeginStageResponse:
        self._runs[request.run_id] = request.wake_up.dataset_id
        return pb.BeginStageResponse(grant=self.grants[request.wake_up.dataset_id])

    def report_progress(self, request: pb.ReportProgressRequest) -> pb.ReportProgressResponse:
        return pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_CONTINUE)

    def complete_stage(self, request: pb.CompleteStageRequest) -> pb.CompleteStageResponse:
        self.outcomes[self._runs[request.run_id]] = request.tiler
        return pb.CompleteStageResponse(answer=pb.ANSWER_WON)

    def fail_stage(self, request: pb.FailStageRequest) -> pb.FailStageResponse:
        self.outcomes[self._runs[request.run_id]] = request.failure
        return pb.FailStageResponse(answer=pb.ANSWER_WON)


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    broker = StubBroker(middleware=[])
    yield broker
    broker.close()


def store(storage: DirectoryStorage, folder: Path, dataset_id: str, content: bytes) -> pb.Grant:
    """Stores a source as ingest does; gives the grant of its tiling."""
    (folder / "download").write_bytes(content)
    key = source_key(dataset_id, 1)
    storage.put_file(folder / "download", key)
    sha256 = hashlib.sha256(content).hexdigest()
    return pb.Grant(source_key=key, tile_id=sha256, source_bytes=len(content), source_sha256=sha256)


def test_a_worker_that_was_given_a_hundred_hostile_files_serves_the_next(tmp_path: Path, broker: StubBroker) -> None:
    storage = DirectoryStorage(tmp_path / "storage")
    settings = TilerSettings(storage=storage.root, decode_memory_bytes=10**9)
    # Given a hundred hostile files, and behind them one that is good
    files = dict(hostile.corpus(tmp_path, FILES))
    files["good"] = pictures.jpeg(tmp_path / "good.jpg", 700, 300).read_bytes()
    names = {f"custom_{number:08x}": name for number, name in enumerate(files)}
    status = Status({i: store(storage, tmp_path, i, files[name]) for i, name in names.items()})
    actor.declare(broker, settings, status, storage, threading.Event())
    for dataset_id in names:
        publish(broker, pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_TILER))
    # When one worker works them off, one after the other
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    broker.join("tiler")
    worker.join()
    worker.stop()
    # Then each has ended as a pyramid or by a code that says why
    outcomes = {names[dataset_id]: outcome for dataset_id, outcome in status.outcomes.items()}
    assert len(files) == FILES + 1
    assert set(outcomes) == set(files)
    codes = {name: outcome.code for name, outcome in outcomes.items() if isinstance(outcome, pb.Failure)}
    understood = DATASET_CODES.keys() - {"internal_error", "stalled", "storage_unavailable"}
    assert {name: code for name, code in codes.items() if code not in understood} == {}
    assert {name: codes.get(name) for name in EXPECTED} == EXPECTED
    # And the good one is tiled, by the same worker
    good = outcomes["good"]
    assert isinstance(good, pb.TilerResult)
    assert (good.width, good.height, good.tile_count) == (700, 300, 17)
    # And nothing is left of the others: no process, no scratch, no half pyramid
    assert [child for child in psutil.Process().children() if "tiler.child" in " ".join(child.cmdline())] == []
    assert list(storage.list_prefix("scratch")) in ([], ["scratch/"])
    built = {key.split("/")[1] for key in storage.list_prefix("pyramids")}
    assert len(built) == len(files) - len(codes)
