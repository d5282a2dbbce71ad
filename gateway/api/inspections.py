"""The routes of /api/inspections, which report what a source is without tiling it."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from gateway.api import contract
from gateway.api.contract import without_query
from gateway.api.creation import PREFER, created_responses, require_acceptable, respond_when_preferred
from gateway.api.inspection_schemas import (
    Inspection,
    InspectionCreated,
    InspectionStatus,
    NewInspection,
    Report,
    Stack,
    StackChannel,
)
from gateway.api.polls import POLL_AFTER
from gateway.api.routing import RETRY_AFTER, KnownFieldsRoute, Parts, json_response
from gateway.api.schemas import Error
from gateway.http import Interrupt, examples
from gateway.rpc import ask, wait_for_inspection
from pipeline.errors import NotFound
from pipeline.pyramids import DEFAULT_TILE_SIZE
from pipeline.status import FINAL
from protos.tilewright.status.v1 import status_pb2 as pb

STATUS: dict[int, InspectionStatus] = {
    pb.STATE_REQUESTED: "queued",
    pb.STATE_INSPECTING: "processing",
    pb.STATE_READY: "ready",
    pb.STATE_FAILED: "failed",
}


_INSPECTION_ID = re.compile(r"inspect_[0-9a-f]{8,64}")

router = APIRouter(tags=["inspections"], route_class=KnownFieldsRoute)


@router.post(
    "/api/inspections",
    status_code=202,
    summary="Inspect an image",
    openapi_extra=PREFER,
    responses={
        **created_responses("inspection", Inspection, InspectionCreated),
        **examples("forbidden_origin", "invalid_request", "source_invalid_url", "source_forbidden_address"),
    },
)
async def create(context: Parts, request: Request, new: NewInspection) -> Response:
    """Reads the source's header, never the whole file, and reports what it is and how it would be tiled."""
    require_acceptable(context, new.url)
    response = await ask(context.rpc.CreateInspection, pb.CreateInspectionRequest(url=new.url, member=new.member or ""))
    context.relay.poke()
    inspection_id = response.inspection.inspection_id
    location = f"{context.links.base}/api/inspections/{inspection_id}"

    async def wait(seconds: float, *interrupts: Interrupt) -> Inspection | None:
        ended = await wait_for_inspection(context.status, inspection_id, seconds, *interrupts)
        return None if ended is None else _inspection(ended)

    created = InspectionCreated(
        success=True,
        inspection_id=inspection_id,
        status="processing",
        message="Inspecting the source",
        inspection_url=location,
    )
    return respond_when_preferred(context, request, created, {"Location": location}, wait)


@router.get(
    "/api/inspections/{inspection_id}",
    summary="Get an inspection",
    responses={200: {"model": Inspection, "headers": RETRY_AFTER}, **examples("not_found")},
)
async def get(context: Parts, inspection_id: str) -> Response:
    """Poll until `status` is `ready` or `failed`. Inspections are kept for a day."""
    if not _INSPECTION_ID.fullmatch(inspection_id):
        raise NotFound(f"There is no inspection {inspection_id[:80]!r}.")
    response = await ask(context.rpc.GetInspection, pb.GetInspectionRequest(inspection_id=inspection_id))
    headers = {"Cache-Control": "no-cache"}
    if response.inspection.state not in FINAL:
        headers["Retry-After"] = str(POLL_AFTER)
    return json_response(_inspection(response.inspection), headers=headers)


def _inspection(row: pb.Inspection) -> Inspection:
    return Inspection(
        inspection_id=row.inspection_id,
        url=without_query(row.url),
        status=STATUS.get(row.state, "processing"),  # a state that only a newer statussvc knows: clients go on polling
        created_at=contract.timestamp(row.create_time),
        finished_at=contract.timestamp(row.finish_time) if row.state in FINAL else None,
        report=_report(row.report) if row.state == pb.STATE_READY else None,
        error=_error(row.failure) if row.state == pb.STATE_FAILED else None,
    )


def _report(report: pb.InspectionReport) -> Report:
    knows_size = report.HasField("source")
    found = Report(
        source=contract.source(report.source) if knows_size else None,
        bytes=report.bytes if report.HasField("bytes") else None,
        content_type=report.content_type,
        ranges=report.ranges,
        tile_size=DEFAULT_TILE_SIZE,
        levels=report.levels if knows_size else None,
        tiles=report.tiles if knows_size else None,
        max_zoom=report.max_zoom if knows_size else None,
        memory_bytes=report.memory_bytes if knows_size else None,
        page=report.page if knows_size else None,
        fetched_bytes=report.fetched_bytes,
        refused=_error(report.refused) if report.HasField("refused") else None,
    )
    if report.HasField("rewritten"):
        found.rewritten = contract.rewritten(report.rewritten)
    if report.HasField("stack"):
        found.stack = _stack(report.stack)
    return found


def _stack(stack: pb.Stack) -> Stack:
    return Stack(
        channels=[
            StackChannel(number=channel.number, name=channel.name, colour=channel.colour or None)
            for channel in stack.channels
        ],
        channel_count=stack.channel_count,
        z_count=stack.z_count,
        t_count=stack.t_count,
        z_step=stack.z_step,
        t_step=stack.t_step,
        z_labels=list(stack.z_labels),
        t_labels=list(stack.t_labels),
    )


def _error(failure: pb.Failure) -> Error:
    return Error(code=failure.code, message=failure.message, retryable=failure.retryable)
