"""PipelineService: for the relay, the workers and the janitor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from sqlalchemy import Connection

from pipeline.storage import source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from protos.tilewright.status.v1 import status_pb2_grpc as pb_grpc
from statussvc.core import Core
from statussvc.db import (
    DatasetRow,
    Facts,
    Failure,
    Reply,
    WakeUp,
    garbage,
    holds,
    identity,
    lost_builds,
    outbox,
    places,
    refreshes,
    reusable,
    stages,
    turns,
    versions,
)
from statussvc.enums import ANSWER_VALUES, DROP_VALUES, STAGE_VALUES, STAGES, Drop
from statussvc.lifecycle import Stage
from statussvc.rpc import requests
from statussvc.rpc.malformed import Malformed
from statussvc.slots import LONGEST_TURN, has_had_longest

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]

DEFAULT_LIMIT, MOST_PENDING = 100, 1000
"""Wake-ups leased in one call: by default, and at most."""

MOST_BUILDS = 500
"""Builds in a page: each costs an indexed read."""

TOO_SLOW = Failure(
    "source_too_slow",
    f"The source's server sent the file too slowly for {LONGEST_TURN:.0f} seconds while other downloads waited, and a "
    "download from it cannot be resumed. Retry when fewer datasets wait, or offer the file on a faster server.",
    retryable=True,
)
"""For a download that cannot be resumed and has had the longest turn there is."""


class PipelineService(pb_grpc.PipelineServiceServicer):
    """Each rpc as status.proto describes it. Raises the errors of interceptor.CODES."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turns = turns.Turns()
        self._last_build = self._last_host = self._last_holder = ""
        self._last_version = 0

    async def LeasePending(self, request: pb.LeasePendingRequest, context: Context) -> pb.LeasePendingResponse:
        # A newer relay may have queues that this version does not know.
        empty = {STAGES[stage] for stage in request.empty_queues if stage in STAGES}
        limit = min(request.limit, MOST_PENDING) if request.limit > 0 else DEFAULT_LIMIT
        policy, now = self._core.policy, self._core.now()

        last_holder, last_host = self._last_holder, self._last_host

        def lease(connection: Connection) -> tuple[list[str], tuple[str, str], list[WakeUp]]:
            changed, holder = holds.settle(connection, now, last_holder)
            freed, host = places.settle(connection, policy, now, last_host)
            due = outbox.lease_pending(connection, limit, empty, policy, now, self._turns)
            return changed + freed, (holder, host), due

        changed, (self._last_holder, self._last_host), due = await self._core.database.keep_house(lease)
        self._notify(changed)
        return pb.LeasePendingResponse(
            wake_ups=[
                pb.WakeUp(dataset_id=item.dataset_id, attempt=item.attempt, stage=STAGE_VALUES[item.stage])
                for item in due
            ]
        )

    async def ConfirmPublished(
        self, request: pb.ConfirmPublishedRequest, context: Context
    ) -> pb.ConfirmPublishedResponse:
        wake_up, now = requests.wake_up(request.wake_up), self._core.now()
        await self._core.database.write(
            lambda connection: outbox.confirm_published(connection, wake_up, now, self._turns)
        )
        return pb.ConfirmPublishedResponse()

    async def BeginStage(self, request: pb.BeginStageRequest, context: Context) -> pb.BeginStageResponse:
        wake_up, now = requests.wake_up(request.wake_up), self._core.now()
        requests.check_run_id(request.run_id)
        asked = (wake_up, request.run_id, request.worker, self._core.policy, now)

        def begin(connection: Connection) -> tuple[stages.Begun, pb.Grant | Drop]:
            if request.any_of_stage:
                begun = stages.begin_next(connection, self._turns, *asked)
            else:
                begun = stages.begin(connection, *asked)
            row = begun.result
            return begun, row if isinstance(row, Drop) else self._grant(connection, row, wake_up.stage, now)

        begun, result = await self._core.database.write(begin)
        if not isinstance(result, Drop):
            host = turns.host_hash(result.url)
            self._core.leases.grant(request.run_id, begun.dataset_id, wake_up.stage, result.wake_up.attempt, host)
        self._notify([begun.dataset_id, *begun.held])
        if isinstance(result, Drop):
            return pb.BeginStageResponse(drop=DROP_VALUES[result])
        return pb.BeginStageResponse(grant=result)

    async def ReportProgress(self, request: pb.ReportProgressRequest, context: Context) -> pb.ReportProgressResponse:
        leases = self._core.leases
        requests.check_counts(request.progress)
        # Before the beat is taken: while the database is away, the worker repeats a beat whose facts were not written.
        facts = requests.facts(request)
        lease = leases.get(request.run_id)
        host = self._new_host(request)
        if lease is not None and (facts != lease.facts or host):
            is_new = facts != lease.facts

            def note(connection: Connection) -> None:
                if is_new:
                    stages.describe(connection, request.run_id, facts)
                if host:
                    stages.note_host(connection, request.run_id, host)

            await self._core.database.write(note)
            lease.facts, lease.host = facts, host or lease.host
            if is_new:
                self._core.hub.notify(lease.dataset_id)
        reason, changed = leases.beat(request.run_id, request.beat_seq, request.progress)
        if reason:
            return pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_STOP, reason=reason)
        lease = leases.get(request.run_id)
        if changed and lease:
            self._core.hub.notify(lease.dataset_id)
        answer = pb.ReportProgressResponse(order=pb.ReportProgressResponse.ORDER_CONTINUE)
        if lease:
            lease.resumable = request.resumable
            answer.give_way = lease.gives_way_since is not None
        return answer

    async def CompleteStage(self, request: pb.CompleteStageRequest, context: Context) -> pb.CompleteStageResponse:
        now = self._core.now()
        match request.WhichOneof("result"):
            case "ingest":
                fetched, lease = requests.fetched(request.ingest), self._core.policy.publish_lease
                facts, host = Facts(rewritten=requests.rewritten(request)), self._new_host(request)

                def complete(connection: Connection) -> Reply:
                    stages.describe(connection, request.run_id, facts)
                    if host:
                        stages.note_host(connection, request.run_id, host)
                    return stages.complete_ingest(connection, request.run_id, fetched, now, lease)

                reply = await self._core.database.write(complete)
            case "tiler":
                built, further = requests.built(request.tiler), requests.further_pages(request.tiler)
                reply = await self._core.database.write(
                    lambda connection: stages.complete_tiler(connection, request.run_id, built, now, further)
                )
            case "inspect":
                report = json_format.MessageToJson(request.inspect, indent=None)
                reply = await self._core.database.write(
                    lambda connection: stages.complete_inspect(connection, request.run_id, report, now)
                )
            case _:
                raise Malformed("result: is missing")
        self._ended(request.run_id, reply)
        response = pb.CompleteStageResponse(answer=ANSWER_VALUES[reply.answer])
        if reply.next_attempt is not None:
            response.next.CopyFrom(
                pb.WakeUp(dataset_id=reply.dataset_id, attempt=reply.next_attempt, stage=pb.STAGE_TILER)
            )
        return response

    async def FailStage(self, request: pb.FailStageRequest, context: Context) -> pb.FailStageResponse:
        failure, now = requests.failure(request), self._core.now()
        facts = Facts(rewritten=requests.rewritten(request))
        served = {lease.run_id for lease in self._core.leases.of(Stage.INGEST) if lease.is_served}

        def fail(connection: Connection) -> Reply:
            stages.describe(connection, request.run_id, facts)
            return stages.fail(connection, request.run_id, failure, self._core.policy, now, served)

        reply = await self._core.database.write(fail)
        self._ended(request.run_id, reply)
        return pb.FailStageResponse(answer=ANSWER_VALUES[reply.answer])

    async def ReleaseStage(self, request: pb.ReleaseStageRequest, context: Context) -> pb.ReleaseStageResponse:
        now, policy = self._core.now(), self._core.policy
        lease = self._core.leases.get(request.run_id)
        is_too_slow = request.gave_way and lease is not None and has_had_longest(lease, policy.slot_seconds)

        def release(connection: Connection) -> Reply:
            if is_too_slow:
                return stages.fail(connection, request.run_id, TOO_SLOW, policy, now)
            if request.gave_way:
                return stages.give_way(connection, request.run_id, policy, now)
            return stages.release(connection, request.run_id, now)

        reply = await self._core.database.write(release)
        self._ended(request.run_id, reply)
        return pb.ReleaseStageResponse(answer=ANSWER_VALUES[reply.answer])

    async def LeaseGarbage(self, request: pb.LeaseGarbageRequest, context: Context) -> pb.LeaseGarbageResponse:
        if len(request.found) > garbage.MOST:
            raise Malformed(f"found: must have at most {garbage.MOST} items; ask about the others in further calls")
        prefixes, now = [item.prefix for item in request.found], self._core.now()
        policy, after, last_version = self._core.policy, self._last_build, self._last_version

        def lease(connection: Connection) -> tuple[list[str], str, int]:
            identity.require_token(connection, request.token)
            garbage.forget_old(connection, garbage.MOST, now)
            version = versions.forget_old(connection, policy.keep_versions, policy.version_grace, now, last_version)
            unreferenced, last = garbage.unreferenced_builds(connection, after)
            return garbage.lease(connection, [*prefixes, *unreferenced], policy.keep_sources, now), last, version

        leased, self._last_build, self._last_version = await self._core.database.write(lease)
        return pb.LeaseGarbageResponse(garbage=[pb.StoredItem(prefix=prefix) for prefix in leased])

    async def ConfirmGarbage(self, request: pb.ConfirmGarbageRequest, context: Context) -> pb.ConfirmGarbageResponse:
        await self._core.database.write(lambda connection: garbage.confirm(connection, request.item.prefix))
        return pb.ConfirmGarbageResponse()

    async def ListBuilds(self, request: pb.ListBuildsRequest, context: Context) -> pb.ListBuildsResponse:
        size = min(request.page_size, MOST_BUILDS) if request.page_size > 0 else DEFAULT_LIMIT
        now = self._core.now()
        found, last = await self._core.database.read(
            lambda connection: lost_builds.builds(connection, request.page_token, size, now)
        )
        return pb.ListBuildsResponse(
            builds=[pb.Build(tile_id=tile_id, build=build) for tile_id, build in found], next_page_token=last
        )

    async def ReportLostBuild(self, request: pb.ReportLostBuildRequest, context: Context) -> pb.ReportLostBuildResponse:
        now = self._core.now()

        def report(connection: Connection) -> str:
            identity.require_token(connection, request.token)
            return lost_builds.report(connection, request.build.tile_id, request.build.build, now)

        dataset_id = await self._core.database.write(report)
        if dataset_id:
            self._core.hub.notify(dataset_id)
        return pb.ReportLostBuildResponse(dataset_id=dataset_id)

    async def IdentifyStorage(self, request: pb.IdentifyStorageRequest, context: Context) -> pb.IdentifyStorageResponse:
        requests.check_token(request.token)
        found = identity.Found(request.token, request.empty)
        try:
            token = await self._core.database.write(
                lambda connection: identity.identify(connection, found, adopt=request.adopt)
            )
        except identity.Refused as refused:
            return pb.IdentifyStorageResponse(refusal=str(refused))
        return pb.IdentifyStorageResponse(token=token)

    def _grant(self, connection: Connection, row: DatasetRow, stage: Stage, now: float) -> pb.Grant:
        grant = _grant(connection, row, stage)
        if stage is Stage.INGEST and places.limit(connection, row.host_hash, self._core.policy, now) is not None:
            grant.connections = 1  # each run has one place
        return grant

    def _new_host(self, request: pb.ReportProgressRequest | pb.CompleteStageRequest) -> str:
        """Hash of the host that a run downloads from, where its row does not have it yet; "" where it has."""
        lease = self._core.leases.get(request.run_id)
        host = turns.hash_of(request.source_host) if request.source_host else ""
        return "" if lease is not None and host == lease.host else host

    def _notify(self, dataset_ids: Iterable[str]) -> None:
        for dataset_id in dataset_ids:
            self._core.hub.notify(dataset_id)

    def _ended(self, run_id: str, reply: Reply) -> None:
        self._core.leases.end(run_id)
        if reply.dataset_id:
            self._core.hub.notify(reply.dataset_id)


def _grant(connection: Connection, row: DatasetRow, stage: Stage) -> pb.Grant:
    wake_up = pb.WakeUp(dataset_id=row.dataset_id, attempt=row.attempt, stage=STAGE_VALUES[stage])
    grant = pb.Grant(url=row.url, options=row.options, wake_up=wake_up)
    match stage:
        case Stage.INGEST:
            grant.source_key = source_key(row.dataset_id, row.attempt)
            grant.expected_sha256 = row.expected_sha256
            grant.resume_run_id = reusable.previous_download(connection, row.dataset_id) or ""
            confirmed = refreshes.to_confirm(connection, row)
            # A forced refresh downloads the file, whatever its server says about the one that is stored.
            earlier = None if row.forced else reusable.finished_download(connection, row)
            is_newer = confirmed is not None and earlier is not None and earlier.sha256 != confirmed.sha256
            known = earlier if confirmed is None or is_newer else confirmed
            if known is not None:
                grant.known.source_key, grant.known.bytes = known.key, known.size
                grant.known.sha256 = known.sha256
                grant.known.etag, grant.known.last_modified = known.etag, known.modified
                grant.known.only_confirm = known is confirmed
        case Stage.TILER:
            source = row.stored_source
            if source is None or row.tile_id is None:
                raise LookupError(f"{row.dataset_id} waits for the tiler without a stored source")
            grant.source_key, grant.tile_id = source.key, row.tile_id
            grant.source_bytes, grant.source_sha256 = source.size, source.sha256
        case Stage.INSPECT:
            pass
    return grant
