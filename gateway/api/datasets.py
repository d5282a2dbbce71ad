"""The routes of /api/datasets. Each makes an rpc to statussvc and returns its response as JSON."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response

from gateway.api import contract, own_texts, request_schemas, schemas
from gateway.api.context import Context
from gateway.api.creation import PREFER, created_responses, require_acceptable, require_allowed, respond_when_preferred
from gateway.api.listing import TEXT, Filters, find
from gateway.api.routing import (
    RETRY_AFTER,
    KnownFieldsRoute,
    Parts,
    json_response,
    request_header,
    response_header,
)
from gateway.http import Interrupt, StateConflict, examples, few, is_not_modified
from gateway.rpc import ask, wait_until_final
from pipeline.errors import Conflict, NotFound
from pipeline.texts import DATASET_ID, MAX_KEY
from protos.tilewright.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

StatusBody = schemas.Working | schemas.Ready | schemas.Failed

_DATASET_ID = re.compile(DATASET_ID)


_ETAG = response_header("ETag", "Send it as If-None-Match with the next poll.")
_REPLAYED = response_header("Idempotent-Replayed", "`true` if the key was used before.")
_IF_NONE_MATCH = request_header("If-None-Match", "The ETag of the status that the client already has.")


router = APIRouter(tags=["datasets"], route_class=KnownFieldsRoute)


@router.post(
    "/api/datasets",
    status_code=202,
    summary="Submit an image",
    openapi_extra=PREFER,
    responses={
        **created_responses("dataset", schemas.Dataset, schemas.Created, _REPLAYED),
        **examples(
            "forbidden_origin",
            "invalid_request",
            "source_invalid_url",
            "source_forbidden_address",
            "idempotency_key_reused",
        ),
    },
)
async def create(
    context: Parts,
    request: Request,
    new: request_schemas.NewDataset,
    *,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=MAX_KEY,
            description="For 24 hours, the same request with the same key returns the dataset created first.",
        ),
    ] = None,
) -> Response:
    """Returns as soon as the dataset is stored, before the download begins."""
    require_acceptable(context, new.url)
    response = await ask(
        context.rpc.CreateDataset,
        pb.CreateDatasetRequest(
            name=new.name,
            description=new.description or "",
            category=new.category or "",
            subject=new.subject or "",
            url=new.url,
            options=pb.TileOptions(
                tile_size=new.tile_size or 0,
                format=contract.TILE_FORMAT[new.format],
                quality=new.quality or 0,
                page=new.page,
                damage=contract.DAMAGE[new.damage],
                member=new.member or "",
                stretch=new.stretch or "",
                channels=new.channels,
                all_pages=new.pages == "all",
            ),
            sha256=(new.sha256 or "").lower(),
            idempotency_key=idempotency_key or "",
            reference=new.reference or "",
            tags=new.tags,
            metadata=own_texts.entries(new.metadata),
            rights=own_texts.statement(new.rights),
            attribution=own_texts.statement(new.attribution),
            pixel_size=own_texts.pixel_size(new.pixel_size),
            georeference=own_texts.place(new.georeference),
        ),
    )
    context.relay.poke()
    dataset_id = response.dataset.dataset_id
    headers = {"Location": context.links.dataset(dataset_id)}
    if response.replayed:
        headers["Idempotent-Replayed"] = "true"

    async def wait(seconds: float, *interrupts: Interrupt) -> schemas.Dataset | None:
        if not await wait_until_final(context.status, dataset_id, seconds, *interrupts):
            return None
        finished = await ask(context.rpc.GetDataset, pb.GetDatasetRequest(dataset_id=dataset_id))
        return contract.dataset(finished.dataset, context.links)

    created = contract.created(response.dataset, context.links)
    return respond_when_preferred(context, request, created, headers, wait)


@router.get(
    "/api/datasets",
    summary="List datasets",
    openapi_extra=own_texts.FILTER,
    responses={200: {"model": schemas.Page}, **examples("invalid_request", "search_too_slow")},
)
async def catalogue(
    context: Parts,
    request: Request,
    wanted: Filters,
    *,
    status_: Annotated[
        list[schemas.Status] | None,
        few(),
        Query(alias="status", description="Only datasets with one of these statuses."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Maximum number of datasets.")] = 50,
    cursor: Annotated[str, Query(max_length=1000, pattern=TEXT, description="`next_cursor` of the page before.")] = "",
) -> Response:
    """Newest first, in pages."""
    wanted.states.extend({state for word in status_ or () for state in contract.FILTERS[word]})
    wanted.page_size, wanted.page_token = limit, cursor
    response = await find(context, wanted, request)
    if response is None:
        return Response(status_code=204)  # The client has disconnected: nobody reads this.
    datasets = [contract.dataset(row, context.links) for row in response.datasets]
    return json_response(schemas.Page(datasets=datasets, next_cursor=response.next_page_token or None))


@router.get(
    "/api/datasets/{dataset_id}",
    summary="Get a dataset",
    responses={200: {"model": schemas.Dataset}, **examples("not_found")},
)
async def get(context: Parts, dataset_id: str) -> Response:
    """The tile URLs are null until the dataset is ready."""
    response = await ask(context.rpc.GetDataset, pb.GetDatasetRequest(dataset_id=known_form(dataset_id)))
    return json_response(contract.dataset(response.dataset, context.links))


@router.patch(
    "/api/datasets/{dataset_id}",
    summary="Change a dataset's texts or URL",
    responses={
        200: {"model": schemas.Dataset},
        **examples(
            "forbidden_origin",
            "not_found",
            "conflict",
            "invalid_request",
            "source_invalid_url",
            "source_forbidden_address",
        ),
    },
)
async def change(context: Parts, dataset_id: str, new: request_schemas.DatasetChange) -> Response:
    """A field that is left out stays as it is, and so does a key of `metadata`.

    null clears a field; the name and the URL cannot be cleared. The URL can be changed while the dataset is queued,
    and after it has failed or was cancelled: a queued dataset uses it at once, the others at the next retry.
    """
    if "url" in new.model_fields_set:
        require_allowed(context, new.url)
    request = own_texts.update(known_form(dataset_id), new)
    response = await ask_in_state(context, context.rpc.UpdateDataset, request)
    if "url" in new.model_fields_set:
        context.relay.poke()
    return json_response(contract.dataset(response.dataset, context.links))


@router.delete(
    "/api/datasets/{dataset_id}",
    status_code=204,
    summary="Delete a dataset",
    responses={204: {"description": "Deleted."}, **examples("forbidden_origin", "not_found")},
)
async def delete(context: Parts, dataset_id: str) -> Response:
    """Works in any state, and stops any work on the dataset.

    Its source and its tiles are removed too, unless another dataset uses them.
    """
    await ask(context.rpc.DeleteDataset, pb.DeleteDatasetRequest(dataset_id=known_form(dataset_id)))
    context.janitor.poke()
    return Response(status_code=204)


@router.get(
    "/api/datasets/{dataset_id}/status",
    summary="Get a dataset's status",
    openapi_extra=_IF_NONE_MATCH,
    responses={
        200: {"model": StatusBody, "headers": _ETAG | RETRY_AFTER},
        304: {"description": "Unchanged since the ETag in If-None-Match.", "headers": _ETAG | RETRY_AFTER},
        **examples("not_found"),
    },
)
async def get_status(context: Parts, request: Request, dataset_id: str) -> Response:
    """Poll until `status` is `ready` or `failed`."""
    response = await context.polls.status(known_form(dataset_id))
    headers = {"ETag": response.etag, "Cache-Control": "no-cache"}
    if not response.final:
        headers["Retry-After"] = str(context.polls.poll_after)
    if is_not_modified(request.headers.raw, response.etag.encode()):
        return Response(status_code=304, headers=headers)
    return Response(response.body, headers=headers, media_type="application/json")


@router.post(
    "/api/datasets/{dataset_id}/retry",
    status_code=202,
    summary="Retry a dataset",
    responses={
        202: {"model": StatusBody},
        **examples(
            "forbidden_origin",
            "not_found",
            "conflict",
            "invalid_request",
            "source_invalid_url",
            "source_forbidden_address",
        ),
    },
)
async def retry(context: Parts, dataset_id: str, new: request_schemas.Retry | None = None) -> Response:
    """Works for a failed or cancelled dataset. Reuses what was already downloaded.

    With a new `url`, an interrupted download goes on if both URLs lead to the same file.
    """
    url = new.url if new is not None else None
    if url is not None:
        require_allowed(context, url)
    context.storage_watch.require()
    request = pb.RetryDatasetRequest(dataset_id=known_form(dataset_id), url=url or "")
    response = await ask_in_state(context, context.rpc.RetryDataset, request)
    context.relay.poke()
    return json_response(contract.status(response.status, context.links, time.time()), 202)


@router.post(
    "/api/datasets/{dataset_id}/cancel",
    summary="Cancel a dataset",
    responses={200: {"model": StatusBody}, **examples("forbidden_origin", "not_found", "conflict")},
)
async def cancel(context: Parts, dataset_id: str) -> Response:
    """The dataset's status becomes `failed`, with the code `cancelled`. A retry resumes it.

    A ready dataset stays ready: this ends its refresh, if one is at work.
    """
    request = pb.CancelDatasetRequest(dataset_id=known_form(dataset_id))
    response = await ask_in_state(context, context.rpc.CancelDataset, request)
    return json_response(contract.status(response.status, context.links, time.time()))


class _OfDataset(Protocol):
    dataset_id: str


OfDataset = TypeVar("OfDataset", bound=_OfDataset)
Answer = TypeVar("Answer")


async def ask_in_state(
    context: Context, method: UnaryUnaryMultiCallable[OfDataset, Answer], request: OfDataset
) -> Answer:
    """Make an rpc that a dataset's present state may not allow. Raises StateConflict, with the state, and as `ask`."""
    try:
        return await ask(method, request)
    except Conflict as conflict:
        present = await ask(context.rpc.GetStatus, pb.GetStatusRequest(dataset_id=request.dataset_id))
        raise StateConflict(str(conflict), contract.SHOWN[present.status.state].state) from conflict


def known_form(dataset_id: str) -> str:
    """Return the id. Raises NotFound, without an rpc, if no dataset can have this id."""
    if not _DATASET_ID.fullmatch(dataset_id):
        raise NotFound(f"There is no dataset {dataset_id[:80]!r}.")
    return dataset_id
