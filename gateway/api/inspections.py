"""The routes of /api/inspections, which report what a source is without tiling it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.api import contract
from gateway.api.context import Context
from gateway.api.contract import without_query
from gateway.api.datasets import PREFER, Parts, disconnected, json_answer
from gateway.api.inspection_schemas import Inspection, InspectionCreated, InspectionStatus, NewInspection, Report
from gateway.api.polls import POLL_AFTER
from gateway.api.schemas import Error
from gateway.http import InvalidField, examples, preferred_wait
from gateway.rpc import ask
from pipeline.errors import NotFound, StageError, StatusUnavailable
from pipeline.pyramids import DEFAULT_TILE_SIZE
from pipeline.sources import check_literal_host
from pipeline.status import FINAL, RPC_TIMEOUT
from protos.tilewright.status.v1 import status_pb2 as pb

STATUS: dict[int, InspectionStatus] = {
    pb.STATE_REQUESTED: "queued",
    pb.STATE_INSPECTING: "processing",
    pb.STATE_READY: "ready",
    pb.STATE_FAILED: "failed",
}


_INSPECTION_ID = re.compile(r"inspect_[0-9a-f]{8,64}")

_LOCATION = {"Location": {"description": "The inspection.", "schema": {"type": "string"}}}
_APPLIED = {"Preference-Applied": {"description": "The wait that was granted.", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until the next poll.", "schema": {"type": "integer"}}}

router = APIRouter(tags=["inspections"])


@router.post(
    "/api/inspections",
    status_code=202,
    summary="Inspect an image",
    openapi_extra=PREFER,
    responses={
        201: {
            "model": Inspection,
            "description": "Finished within `Prefer: wait`.",
            "headers": _LOCATION | _APPLIED,
        },
        202: {"model": InspectionCreated, "description": "Accepted.", "headers": _LOCATION | _APPLIED},
        **examples("forbidden_origin", "invalid_request", "source_invalid_url", "source_forbidden_address"),
    },
)
async def create(context: Parts, request: Request, new: NewInspection) -> Response:
    """Reads the source's header, never the whole file, and reports what it is and how it would be tiled."""
    try:
        check_literal_host(new.url, context.allowed)
    except StageError as error:
        raise InvalidField(error, "/url") from error
    context.storage_watch.require()
    answer = await ask(context.rpc.CreateInspection, pb.CreateInspectionRequest(url=new.url))
    context.relay.poke()
    inspection_id = answer.inspection.inspection_id
    headers = {"Location": _url(context, inspection_id)}
    seconds = preferred_wait(request.headers.getlist("prefer"), context.settings.max_wait)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds:.0f}"
        ended = await _wait(context, inspection_id, seconds, context.stopping.wait(), disconnected(request))
        if ended is not None:
            return json_answer(_inspection(ended), 201, headers)
    created = InspectionCreated(
        success=True,
        inspection_id=inspection_id,
        status="processing",
        message="Inspecting the source",
        inspection_url=headers["Location"],
    )
    return json_answer(created, 202, headers)


@router.get(
    "/api/inspections/{inspection_id}",
    summary="Get an inspection",
    responses={200: {"model": Inspection, "headers": _RETRY_AFTER}, **examples("not_found")},
)
async def get(context: Parts, inspection_id: str) -> Response:
    """Poll until `status` is `ready` or `failed`. Inspections are kept for a day."""
    if not _INSPECTION_ID.fullmatch(inspection_id):
        raise NotFound(f"There is no inspection {inspection_id[:80]!r}.")
    answer = await ask(context.rpc.GetInspection, pb.GetInspectionRequest(inspection_id=inspection_id))
    headers = {"Cache-Control": "no-cache"}
    if answer.inspection.state not in FINAL:
        headers["Retry-After"] = str(POLL_AFTER)
    return json_answer(_inspection(answer.inspection), headers=headers)


async def _wait(
    context: Context, inspection_id: str, seconds: float, *interrupts: Coroutine[Any, Any, object]
) -> pb.Inspection | None:
    """Return the inspection once it has ended; None if the time runs out or one of `interrupts` returns first."""
    request = pb.GetInspectionRequest(inspection_id=inspection_id, wait_seconds=seconds)
    asking = asyncio.ensure_future(ask(context.status.status.GetInspection, request, seconds + RPC_TIMEOUT))
    tasks = {asking, *(asyncio.ensure_future(interrupt) for interrupt in interrupts)}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            return None
        inspection = asking.result().inspection
    except StatusUnavailable:
        # The inspection is stored, so the client can still poll it once statussvc is back.
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return inspection if inspection.state in FINAL else None


def _url(context: Context, inspection_id: str) -> str:
    return f"{context.links.base}/api/inspections/{inspection_id}"


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
    return Report(
        source=contract.source(report.source) if knows_size else None,
        bytes=report.bytes if report.HasField("bytes") else None,
        content_type=report.content_type,
        ranges=report.ranges,
        tile_size=DEFAULT_TILE_SIZE,
        levels=report.levels if knows_size else None,
        tiles=report.tiles if knows_size else None,
        max_zoom=report.max_zoom if knows_size else None,
        memory_bytes=report.memory_bytes if knows_size else None,
        fetched_bytes=report.fetched_bytes,
        refused=_error(report.refused) if report.HasField("refused") else None,
    )


def _error(failure: pb.Failure) -> Error:
    return Error(code=failure.code, message=failure.message, retryable=failure.retryable)
