"""The stream of changes by the IIIF Change Discovery API 1.0, level 2: what harvesters read.

    /iiif/activity/all-changes    where the first and the last page are
    /iiif/activity/page-<n>       up to 100 activities, oldest first

Section numbers refer to iiif.io/api/discovery/1.0.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response

from gateway.api.contract import timestamp
from gateway.api.linked_data import IF_NONE_MATCH, answers, base_url, linked_data
from gateway.api.linked_data_schemas import OrderedCollection, OrderedCollectionPage
from gateway.api.routing import KnownFieldsRoute, Parts
from gateway.rpc import ask
from protos.tilewright.status.v1 import status_pb2 as pb

PREFIX = "/iiif/activity/"
"""How the paths of the stream begin."""

CONTEXT = "http://iiif.io/api/discovery/1/context.json"

MOST = 2**53 - 1
"""The largest number of a page: JSON numbers are exact up to it."""

TYPES: Final = {
    pb.CHANGE_TYPE_CREATE: "Create",
    pb.CHANGE_TYPE_UPDATE: "Update",
    pb.CHANGE_TYPE_DELETE: "Delete",
}

router = APIRouter(tags=["iiif"], route_class=KnownFieldsRoute)


@router.get(
    "/iiif/activity/all-changes",
    summary="Get the stream of changes",
    openapi_extra=IF_NONE_MATCH,
    responses=answers(OrderedCollection),
)
async def all_changes(context: Parts, request: Request) -> Response:
    """An OrderedCollection of the Change Discovery API 1.0: start with its last page, and follow `prev`."""
    found = await ask(context.rpc.ListChanges, pb.ListChangesRequest())
    base = base_url(context, request)
    document = {
        "@context": CONTEXT,
        **_all(base),
        "first": _page(base, found.first_page),
        "last": _page(base, found.last_page),
    }
    return linked_data(context, request, document, CONTEXT)


@router.get(
    "/iiif/activity/page-{number}",
    summary="Get a page of changes",
    openapi_extra=IF_NONE_MATCH,
    responses=answers(OrderedCollectionPage, "invalid_request", "not_found"),
)
async def page(
    context: Parts, request: Request, number: Annotated[int, Path(ge=0, le=MOST, description="From 0.")]
) -> Response:
    """Activities of datasets that came, changed and went, oldest first."""
    found = await ask(context.rpc.ListChanges, pb.ListChangesRequest(page=number))
    base = base_url(context, request)
    document: dict[str, Any] = {"@context": CONTEXT, **_page(base, number), "partOf": _all(base)}
    if found.HasField("previous_page"):
        document["prev"] = _page(base, found.previous_page)
    if found.HasField("next_page"):
        document["next"] = _page(base, found.next_page)
    document["orderedItems"] = [_activity(base, change) for change in found.changes]
    return linked_data(context, request, document, CONTEXT)


def _all(base: str) -> dict[str, str]:
    return {"id": f"{base}{PREFIX}all-changes", "type": "OrderedCollection"}


def _page(base: str, number: int) -> dict[str, str]:
    return {"id": f"{base}{PREFIX}page-{number}", "type": "OrderedCollectionPage"}


def _activity(base: str, change: pb.Change) -> dict[str, Any]:
    """Return an activity (section 3.3)."""
    manifest: dict[str, Any] = {"id": f"{base}/iiif/{change.dataset_id}/manifest.json", "type": "Manifest"}
    if change.type != pb.CHANGE_TYPE_DELETE:
        about = f"{base}/api/datasets/{change.dataset_id}"
        manifest["seeAlso"] = [{"id": about, "type": "Dataset", "format": "application/json"}]
    activity = {"type": TYPES[change.type], "object": manifest, "endTime": timestamp(change.end_time)}
    if change.HasField("start_time") and change.start_time.ToMicroseconds() <= change.end_time.ToMicroseconds():
        activity["startTime"] = timestamp(change.start_time)
    return activity
