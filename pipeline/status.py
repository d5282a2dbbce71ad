"""The typed client of statussvc, for threads (workers, relay) and for asyncio (gateway)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from pipeline.channels import CLIENT_OPTIONS
from pipeline.errors import Conflict, NotFound, SearchTooSlow, StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from protos.tilewright.status.v1.status_pb2_grpc import PipelineServiceAsyncStub, StatusServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")

RPC_TIMEOUT = 10.0
"""Most seconds of an rpc. statussvc answers in milliseconds, but another process may lock SQLite for seconds."""

BEAT_TIMEOUT = 2.0
"""Most seconds of a heartbeat: four fit in a lease, and a stop must not wait long for a frozen statussvc."""

FINAL = frozenset({pb.STATE_READY, pb.STATE_FAILED, pb.STATE_CANCELLED})
"""States that only a retry can change."""

REPEATABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # the server is overloaded
    grpc.StatusCode.CANCELLED,  # the server stopped; callers that cancel their own call do not look at its error
)
"""Codes after which an rpc may be repeated: every rpc of the pipeline is idempotent."""


def is_search(request: pb.ListDatasetsRequest) -> bool:
    """Return whether a list may take as long as a search: it looks for a text, or no index covers all its filters."""
    one_each = (request.states, request.category, request.subject, request.url, request.sha256, request.reference)
    filters = sum(map(bool, one_each)) + len(request.tags) + len(request.metadata)
    return bool(request.query) or filters > 1


class StatusClient:
    """Client of PipelineService for threads. The channel is made on first use, since the worker's CLI forks before."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stub: pb_grpc.PipelineServiceStub | None = None

    def lease_pending(self, request: pb.LeasePendingRequest) -> pb.LeasePendingResponse:
        return _call(self._pipeline.LeasePending, request)

    def confirm_published(self, wake_up: pb.WakeUp) -> None:
        _call(self._pipeline.ConfirmPublished, pb.ConfirmPublishedRequest(wake_up=wake_up))

    def begin_stage(self, request: pb.BeginStageRequest) -> pb.BeginStageResponse:
        return _call(self._pipeline.BeginStage, request)

    def report_progress(self, request: pb.ReportProgressRequest) -> pb.ReportProgressResponse:
        return _call(self._pipeline.ReportProgress, request, timeout=BEAT_TIMEOUT)

    def complete_stage(self, request: pb.CompleteStageRequest) -> pb.CompleteStageResponse:
        return _call(self._pipeline.CompleteStage, request)

    def fail_stage(self, request: pb.FailStageRequest) -> pb.FailStageResponse:
        return _call(self._pipeline.FailStage, request)

    def release_stage(self, request: pb.ReleaseStageRequest) -> pb.ReleaseStageResponse:
        return _call(self._pipeline.ReleaseStage, request)

    def lease_garbage(self, request: pb.LeaseGarbageRequest) -> pb.LeaseGarbageResponse:
        return _call(self._pipeline.LeaseGarbage, request)

    def confirm_garbage(self, item: pb.StoredItem) -> None:
        _call(self._pipeline.ConfirmGarbage, pb.ConfirmGarbageRequest(item=item))

    def list_builds(self, request: pb.ListBuildsRequest) -> pb.ListBuildsResponse:
        return _call(self._pipeline.ListBuilds, request)

    def report_lost_build(self, request: pb.ReportLostBuildRequest) -> pb.ReportLostBuildResponse:
        return _call(self._pipeline.ReportLostBuild, request)

    def identify_storage(self, request: pb.IdentifyStorageRequest) -> pb.IdentifyStorageResponse:
        return _call(self._pipeline.IdentifyStorage, request)

    def get_pyramid(self, tile_id: str) -> pb.Pyramid:
        """Return a pyramid. Raises NotFound."""
        return _call(self._users.GetPyramid, pb.GetPyramidRequest(tile_id=tile_id)).pyramid

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = self._stub = None

    @property
    def _users(self) -> pb_grpc.StatusServiceStub:
        _ = self._pipeline  # makes the channel
        with self._lock:
            if self._channel is None:
                raise StatusUnavailable("the client is closed")
            return pb_grpc.StatusServiceStub(self._channel)

    @property
    def _pipeline(self) -> pb_grpc.PipelineServiceStub:
        with self._lock:
            if self._stub is None:
                self._channel = grpc.insecure_channel(self._address, options=CLIENT_OPTIONS)
                self._stub = pb_grpc.PipelineServiceStub(self._channel)
            return self._stub


class AsyncStatusClient:
    """Stubs of both services for asyncio, on one channel of the running loop."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        self.status: StatusServiceAsyncStub = pb_grpc.StatusServiceStub(self._channel)
        self.pipeline: PipelineServiceAsyncStub = pb_grpc.PipelineServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()


def name_of(enum: Any, value: int) -> str:
    """Return the name of an enum's value, or its number if only a newer service knows it.

    Parameters
    ----------
    enum: a generated enum.
    """
    return str(enum.Name(value)) if value in enum.values() else f"{enum.DESCRIPTOR.name} {value}"


def rpc_error(error: grpc.RpcError) -> Exception:
    """Translate an rpc's error to one of pipeline.errors; return the rpc's error if there is none."""
    code, details = error.code(), error.details() or ""
    if code in REPEATABLE:
        return StatusUnavailable(details or f"statussvc answered {code.name}")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(details)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Conflict(details)
    if code is grpc.StatusCode.ABORTED:
        return SearchTooSlow(details)
    return error


def _call(method: Callable[..., Response], request: Request, *, timeout: float = RPC_TIMEOUT) -> Response:
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise rpc_error(error) from error


def repeat(call: Callable[[], Response], give_up: threading.Event, *, pause: float = 0.5) -> Response:
    """Repeat a call every `pause` seconds while statussvc is unavailable.

    Raises StatusUnavailable when `give_up` is set, and any other error at once.
    """
    while True:
        try:
            return call()
        except StatusUnavailable:
            if give_up.wait(pause):
                raise
