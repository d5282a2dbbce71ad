"""A small picture of a dataset, there before its tiles are.

Never at a tile's address: those stand for ever, a preview only until its pyramid is there.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from gateway.datasets import Parts, known_form
from gateway.problems import examples
from gateway.rpc import ask
from pipeline.errors import NotFound, ObjectMissing
from pipeline.pyramid import PREVIEW, SMALL_FILE, THUMBNAIL
from pipeline.storage import pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb

router = APIRouter(tags=["datasets"])


@router.get(
    "/api/datasets/{dataset_id}/preview",
    summary="A small picture of it",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "The picture."}, **examples("not_found")},
)
async def get_preview(context: Parts, dataset_id: str) -> Response:
    """At most 1,024 pixels: there from the first moments of tiling where the format allows it, and once it is ready."""
    answer = await ask(context.rpc.GetStatus, pb.GetStatusRequest(dataset_id=known_form(dataset_id)))
    for key in _keys(answer.status):
        try:
            data = await asyncio.to_thread(context.storage.get_range, key, 0, SMALL_FILE)
        except ObjectMissing:
            continue
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})
    raise NotFound(f"There is no preview of {dataset_id} yet. Its status says when there is one.")


def _keys(status: pb.DatasetStatus) -> list[str]:
    if status.HasField("preview"):
        return [status.preview.key]
    pyramid = status.pyramid
    names = (PREVIEW, THUMBNAIL) if status.HasField("pyramid") else ()
    return [pyramid_key(pyramid.tile_id, pyramid.build, name) for name in names]
