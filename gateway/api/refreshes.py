"""Refresh a dataset, and list its versions: routes, and their JSON."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.api import contract, refresh_schemas, schemas
from gateway.api.datasets import ask_in_state, known_form
from gateway.api.routing import KnownFieldsRoute, Parts, json_response
from gateway.http import examples
from gateway.rpc import ask
from protos.tilewright.status.v1 import status_pb2 as pb

router = APIRouter(tags=["datasets"], route_class=KnownFieldsRoute)


@router.post(
    "/api/datasets/{dataset_id}/refresh",
    status_code=202,
    summary="Refresh a dataset",
    responses={
        202: {"model": schemas.Ready},
        **examples("forbidden_origin", "not_found", "conflict", "invalid_request"),
    },
)
async def refresh(
    context: Parts,
    dataset_id: str,
    *,
    force: Annotated[
        bool, Query(description="Download the source, and make new tiles, even if nothing changed.")
    ] = False,
) -> Response:
    """Works for a ready dataset, which stays ready: its addresses answer the whole time.

    The source's server is asked whether the file has changed. If it has, or if the tiles are of an older version of
    Tilewright, new tiles are made and then shown at the same addresses. Poll the status: `refresh` in it says what
    is being done, and then what came of it. A second request while a refresh is at work returns the same refresh.
    """
    context.storage_watch.require()
    request = pb.RefreshDatasetRequest(dataset_id=known_form(dataset_id), force=force)
    response = await ask_in_state(context, context.rpc.RefreshDataset, request)
    context.relay.poke()
    return json_response(contract.status(response.status, context.links, time.time()), 202)


@router.get(
    "/api/datasets/{dataset_id}/versions",
    summary="List a dataset's versions",
    responses={200: {"model": refresh_schemas.Versions}, **examples("not_found")},
)
async def versions(context: Parts, dataset_id: str) -> Response:
    """The present tiles, and those that refreshes have replaced, as long as they are kept. Newest first."""
    response = await ask(context.rpc.ListVersions, pb.ListVersionsRequest(dataset_id=known_form(dataset_id)))
    known = [row for row in response.versions if row.pyramid.format in contract.EXTENSION]
    return json_response(refresh_schemas.Versions(versions=[_version(row, context.links) for row in known]))


def _version(row: pb.Version, links: contract.Links) -> refresh_schemas.Version:
    pyramid = row.pyramid
    return refresh_schemas.Version(
        tile_id=pyramid.tile_id,
        present=not row.HasField("replace_time"),
        pyramid_version=pyramid.version or None,
        width=pyramid.width,
        height=pyramid.height,
        bytes=pyramid.bytes,
        dzi=links.dzi(pyramid),
        xyz=links.xyz(pyramid),
        thumbnail=links.thumbnail(pyramid),
        source=refresh_schemas.VersionSource(
            sha256=row.source_sha256, bytes=row.source_bytes, last_modified=row.source_modified
        ),
        created_at=contract.timestamp(row.create_time) if row.HasField("create_time") else None,
        replaced_at=contract.timestamp(row.replace_time) if row.HasField("replace_time") else None,
        kept_until=contract.timestamp(row.expire_time) if row.HasField("expire_time") else None,
    )
