"""A preview of a dataset, available before its tiles.

It has a URL of its own: what a tile's URL returns never changes, but a preview is replaced by the finished pyramid.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from gateway.api.datasets import known_form
from gateway.api.routing import Parts
from gateway.http import examples
from gateway.rpc import ask
from pipeline.errors import NotFound, ObjectMissing
from pipeline.pyramids import PREVIEW, PREVIEW_THUMBNAIL, SMALL_FILE, THUMBNAIL
from pipeline.storage import pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb

router = APIRouter(tags=["datasets"])

_HEADERS = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "cross-origin", "Timing-Allow-Origin": "*"}

Size = Literal["preview", "thumbnail"]


@router.get(
    "/api/datasets/{dataset_id}/preview",
    summary="Get a preview",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The preview."},
        **examples("not_found", "invalid_request"),
    },
)
async def get_preview(
    context: Parts,
    dataset_id: str,
    size: Annotated[Size, Query(description="`preview`: at most 1,024 pixels; `thumbnail`: at most 512.")] = "preview",
) -> Response:
    """Available soon after tiling begins if the format allows it, and once the dataset is ready."""
    response = await ask(context.rpc.GetStatus, pb.GetStatusRequest(dataset_id=known_form(dataset_id)))
    for key in _keys(response.status, size):
        try:
            data = await context.storage_threads.run(context.storage.get_range, key, 0, SMALL_FILE)
        except ObjectMissing:
            continue
        return Response(data, media_type="image/jpeg", headers=_HEADERS)
    raise NotFound(f"{dataset_id} has no preview yet. Poll its status: `preview` is set once there is one.")


def _keys(status: pb.DatasetStatus, size: Size) -> list[str]:
    """Return the storage keys to try, best first."""
    if status.HasField("preview"):
        key = status.preview.key
        return [key] if size == "preview" else [f"{key.removesuffix(PREVIEW)}{PREVIEW_THUMBNAIL}", key]
    pyramid = status.pyramid
    names = ((PREVIEW, THUMBNAIL) if size == "preview" else (THUMBNAIL,)) if status.HasField("pyramid") else ()
    return [pyramid_key(pyramid.tile_id, pyramid.build, name) for name in names]
