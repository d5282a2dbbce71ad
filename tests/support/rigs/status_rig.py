"""A real statussvc inside the test process: its server on a loop of its own, reached over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Connection, Engine

from pipeline.errors import StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.core import Core
from statussvc.db.database import Database
from statussvc.housekeeper import Housekeeper
from statussvc.leases import Leases
from statussvc.policy import Policy
from statussvc.rpc.pipeline_service import PipelineService
from statussvc.rpc.status_service import StatusService
from statussvc.server import Server
from statussvc.settings import StatusSettings
from statussvc.watch import Hub

T = TypeVar("T")

SHA = "ab" * 32

_numbers = itertools.count(1)

BEAT_PAUSE = 0.2
"""Seconds between two beats of a worker that is played."""


class _Loop:
    """One event loop for all servers of the process: grpc.aio polls for one loop only."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="statussvc-loop").start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=60)


_loop: _Loop | None = None


def shared_loop() -> _Loop:
    global _loop  # noqa: PLW0603  # made on first use, so that tests without a server start none
    _loop = _loop or _Loop()
    return _loop


@dataclass
class Status:
    """A running statussvc."""

    address: str
    users: pb_grpc.StatusServiceStub
    pipeline: pb_grpc.PipelineServiceStub

    def create(self, name: str = "Earth", **fields: Any) -> str:
        """Creates a dataset, by default of a URL that no other has, and returns its id."""
        number = 0 if "idempotency_key" in fields else next(_numbers)
        url = f"https://example.org/{number}.jpg"
        request = pb.CreateDatasetRequest(**{"name": name, "url": url, **fields})
        return self.users.CreateDataset(request).dataset.dataset_id

    def begin(self, dataset_id: str, run_id: str, *, attempt: int = 1, stage: int = pb.STAGE_INGEST) -> Any:
        """Begins a stage; returns the grant, or the drop's name."""
        wake_up = pb.WakeUp(dataset_id=dataset_id, attempt=attempt, stage=stage)  # type: ignore[arg-type]
        answer = self.pipeline.BeginStage(pb.BeginStageRequest(wake_up=wake_up, run_id=run_id, worker="test"))
        if answer.WhichOneof("result") == "grant":
            return answer.grant
        return pb.BeginStageResponse.Drop.Name(answer.drop)

    def complete_ingest(self, run_id: str, sha256: str = SHA) -> pb.CompleteStageResponse:
        return self.pipeline.CompleteStage(
            pb.CompleteStageRequest(run_id=run_id, ingest=pb.IngestResult(sha256=sha256, bytes=1234))
        )

    def complete_tiler(self, run_id: str) -> pb.CompleteStageResponse:
        made = pb.TilerResult(width=1000, height=700, format=pb.TILE_FORMAT_JPEG, tile_count=30, bytes=99)
        return self.pipeline.CompleteStage(pb.CompleteStageRequest(run_id=run_id, tiler=made))

    def fail(self, run_id: str, code: str = "source_unreachable", *, retryable: bool = True) -> str:
        failure = pb.Failure(code=code, message="It did not work.", retryable=retryable)
        answer = self.pipeline.FailStage(pb.FailStageRequest(run_id=run_id, failure=failure)).answer
        return pb.Answer.Name(answer)

    def beat(self, run_id: str, seq: int, **progress: Any) -> pb.ReportProgressResponse:
        return self.pipeline.ReportProgress(
            pb.ReportProgressRequest(run_id=run_id, beat_seq=seq, progress=pb.Progress(**progress))
        )

    def get(self, dataset_id: str) -> pb.DatasetStatus:
        return self.users.GetStatus(pb.GetStatusRequest(dataset_id=dataset_id)).status

    def state(self, dataset_id: str) -> str:
        return pb.State.Name(self.get(dataset_id).state).removeprefix("STATE_")

    def pending(self, **request: Any) -> list[tuple[str, int, int]]:
        leased = self.pipeline.LeasePending(pb.LeasePendingRequest(**request)).wake_ups
        return [(item.dataset_id, item.attempt, item.stage) for item in leased]


class InlineDatabase(Database):
    """Runs each function at once, in the caller's thread. Its commits' answers can be lost."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answers_to_lose = 0

    async def write(self, function: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            result = function(connection)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise StatusUnavailable("the commit's answer was lost")
        return result

    async def read(self, function: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return function(connection)

    keep_house = search = read


class InlineStatus:
    """statussvc's services, called without a server, a thread or a clock: time passes as the test says."""

    def __init__(self, engine: Engine, policy: Policy) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 0.0
        self.database = InlineDatabase(engine)
        self._policy = policy
        self.start()

    def start(self) -> None:
        """Starts the service anew: what it knew in memory is gone."""
        self.core = Core(
            database=self.database,
            leases=Leases(10.0, lambda: self.monotonic),
            hub=Hub(),
            policy=self._policy,
            now=lambda: self.wall,
        )
        self.users, self.pipeline = StatusService(self.core), PipelineService(self.core)
        self.housekeeper = Housekeeper(self.core)
        self.do(self.housekeeper.reconcile())

    @staticmethod
    def do(call: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine that never has to wait."""
        try:
            call.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        raise AssertionError("the call waits")


class Beating:
    """A run whose worker lives: beats until it is left, keeps the answers, and counts the beats that were refused."""

    def __init__(self, status: Status, run_id: str) -> None:
        self.answers: list[pb.ReportProgressResponse] = []
        self.refused = 0
        self._status, self._run_id = status, run_id
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"beat-{run_id[:4]}")

    def __enter__(self) -> Beating:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _beat(self) -> None:
        for sequence in itertools.count(1):
            try:
                self.answers.append(self._status.beat(self._run_id, sequence, bytes_downloaded=sequence))
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                self.refused += 1
            if self._left.wait(BEAT_PAUSE):
                return


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """How an rpc is answered."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def await_health(address: str, wanted: str) -> None:
    """Returns when the health service says so. Raises grpc.RpcError after 30 seconds."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        told = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        for answer in told:
            if health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == wanted:
                told.cancel()
                return
    raise AssertionError("the watch ended")


@contextmanager
def running(database_url: str, *, port: int = 0, **settings: Any) -> Iterator[Status]:
    """Starts statussvc on a free port, or on a given one, and stops it."""
    loop = shared_loop()
    server = Server(StatusSettings(database_url=database_url, grpc_port=port, **settings))
    address = f"127.0.0.1:{loop.run(server.start())}"
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    try:
        yield Status(address, pb_grpc.StatusServiceStub(channel), pb_grpc.PipelineServiceStub(channel))
    finally:
        channel.close()
        loop.run(server.stop(0.1))
