"""PipelineService: for the relay, the workers and the janitor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from pipeline.errors import DATASET_CODES
from pipeline.storage import source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.core import Core
from statussvc.lifecycle import Stage
from statussvc.repository import garbage, outbox, stages
from statussvc.repository.rows import Outcome
from statussvc.views import FORMAT_NAMES

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]

STAGES = {pb.STAGE_INGEST: Stage.INGEST, pb.STAGE_TILER: Stage.TILER}
STAGE_VALUES = {stage: value for value, stage in STAGES.items()}
DEFAULT_LIMIT = 100

RUN_ID = re.compile("[0-9a-f]{32}")
"""A run's id becomes part of storage keys, so it is held to its form."""

SHA256 = re.compile("[0-9a-f]{64}")


class PipelineService(pb_grpc.PipelineServiceServicer):
    """Each rpc as status.proto says. Raises the errors of core.CODES."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def LeasePending(self, request: pb.LeasePendingRequest, context: Context) -> pb.LeasePendingResponse:
        empty = {_stage(stage) for stage in request.empty_queues}
        limit = request.limit if request.limit > 0 else DEFAULT_LIMIT
        policy, now = self._core.policy, self._core.now()
        due = await self._core.database.keep_house(
            lambda connection: outbox.lease_pending(connection, limit, empty, policy.retry_cap, now, policy.lost_after)
        )
        return pb.LeasePendingResponse(
            wake_ups=[
                pb.WakeUp(dataset_id=item.dataset_id, attempt=item.attempt, stage=STAGE_VALUES[item.stage])
                for item in due
            ]
        )

    async def ConfirmPublished(
        self, request: pb.ConfirmPublishedRequest, context: Context
    ) -> pb.ConfirmPublishedResponse:
        wake_up, now = request.wake_up, self._core.now()
        stage = _stage(wake_up.stage)
        await self._core.database.write(
            lambda connection: outbox.confirm_published(connection, wake_up.dataset_id, wake_up.attempt, stage, now)
        )
        return pb.ConfirmPublishedResponse()

    async def BeginStage(self, request: pb.BeginStageRequest, context: Context) -> pb.BeginStageResponse:
        wake_up, now = request.wake_up, self._core.now()
        stage = _stage(wake_up.stage)
        if not RUN_ID.fullmatch(request.run_id):
            raise ValueError("run_id: must be a UUID in hex")
        begun = await self._core.database.write(
            lambda connection: stages.begin(
                connection, wake_up.dataset_id, wake_up.attempt, stage, request.run_id, request.worker, now
            )
        )
        if isinstance(begun, str):
            self._core.hub.notify(wake_up.dataset_id)
            return pb.BeginStageResponse(drop=pb.BeginStageResponse.Drop.Value(f"DROP_{begun}"))
        self._core.leases.grant(request.run_id, wake_up.dataset_id, stage)
        self._core.hub.notify(wake_up.dataset_id)
        return pb.BeginStageResponse(grant=_grant(begun, stage))

    async def ReportProgress(self, request: pb.ReportProgressRequest, context: Context) -> pb.ReportProgressResponse:
        leases = self._core.leases
        reason, changed = leases.beat(request.run_id, request.beat_seq, request.progress)
        if reason:
            return pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_STOP, reason=reason)
        lease = leases.get(request.run_id)
        if changed and lease:
            self._core.hub.notify(lease.dataset_id)
        return pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_CONTINUE)

    async def CompleteStage(self, request: pb.CompleteStageRequest, context: Context) -> pb.CompleteStageResponse:
        now = self._core.now()
        match request.WhichOneof("result"):
            case "ingest":
                source = request.ingest
                if not SHA256.fullmatch(source.sha256):
                    raise ValueError("ingest.sha256: must be 64 lower-case hex digits")
                outcome = await self._core.database.write(
                    lambda connection: stages.complete_ingest(
                        connection, request.run_id, source.sha256, source.bytes, now
                    )
                )
            case "tiler":
                made = _made(request.tiler)
                outcome = await self._core.database.write(
                    lambda connection: stages.complete_tiler(connection, request.run_id, made, now)
                )
            case _:
                raise ValueError("result: is missing")
        self._ended(request.run_id, outcome)
        response = pb.CompleteStageResponse(answer=_answer(outcome))
        if outcome.next_attempt is not None:
            response.next.CopyFrom(
                pb.WakeUp(dataset_id=outcome.dataset_id, attempt=outcome.next_attempt, stage=pb.STAGE_TILER)
            )
        return response

    async def FailStage(self, request: pb.FailStageRequest, context: Context) -> pb.FailStageResponse:
        if request.failure.code not in DATASET_CODES:
            raise ValueError(f"failure.code: {request.failure.code!r} is not a dataset's code")
        now = self._core.now()
        failure = stages.Failure(
            code=request.failure.code,
            # PostgreSQL holds no U+0000, and an outcome must not be refused for what a decoder said.
            message=request.failure.message.replace("\0", ""),
            retryable=request.failure.retryable,
            retry_after=max(0.0, request.retry_after_seconds),
        )
        outcome = await self._core.database.write(
            lambda connection: stages.fail(connection, request.run_id, failure, self._core.policy, now)
        )
        self._ended(request.run_id, outcome)
        return pb.FailStageResponse(answer=_answer(outcome))

    async def ReleaseStage(self, request: pb.ReleaseStageRequest, context: Context) -> pb.ReleaseStageResponse:
        now = self._core.now()
        outcome = await self._core.database.write(lambda connection: stages.release(connection, request.run_id, now))
        self._ended(request.run_id, outcome)
        return pb.ReleaseStageResponse(answer=_answer(outcome))

    async def LeaseGarbage(self, request: pb.LeaseGarbageRequest, context: Context) -> pb.LeaseGarbageResponse:
        prefixes, now = [item.prefix for item in request.found], self._core.now()
        keep = self._core.policy.keep_sources

        def lease(connection: Connection) -> list[str]:
            return garbage.lease(connection, [*prefixes, *garbage.built_for_nobody(connection)], keep, now)

        leased = await self._core.database.write(lease)
        return pb.LeaseGarbageResponse(garbage=[pb.StoredItem(prefix=prefix) for prefix in leased])

    async def ConfirmGarbage(self, request: pb.ConfirmGarbageRequest, context: Context) -> pb.ConfirmGarbageResponse:
        await self._core.database.write(lambda connection: garbage.confirm(connection, request.item.prefix))
        return pb.ConfirmGarbageResponse()

    def _ended(self, run_id: str, outcome: Outcome) -> None:
        self._core.leases.end(run_id)
        if outcome.dataset_id:
            self._core.hub.notify(outcome.dataset_id)


def _stage(value: pb.Stage.ValueType) -> Stage:
    try:
        return STAGES[value]
    except KeyError:
        raise ValueError("stage: is missing or unknown") from None


def _answer(outcome: Outcome) -> pb.Answer.ValueType:
    return pb.Answer.Value(f"ANSWER_{outcome.answer}")


def _grant(row: Any, stage: Stage) -> pb.Grant:
    return pb.Grant(
        url=row.url,
        options=pb.TileOptions(tile_size=row.tile_size),
        source_key=row.source_key if stage is Stage.TILER else source_key(row.dataset_id, row.attempt),
        tile_id=row.tile_id,
        source_bytes=row.source_bytes,
        source_sha256=row.source_sha256,
    )


def _made(result: pb.TilerResult) -> dict[str, Any]:
    if min(result.width, result.height, result.tile_count, result.bytes) < 1 or result.format not in FORMAT_NAMES:
        raise ValueError("tiler: width, height, format, tile_count and bytes are needed")
    return {
        "width": result.width,
        "height": result.height,
        "format": FORMAT_NAMES[result.format],
        "tile_count": result.tile_count,
        "bytes": result.bytes,
    }
