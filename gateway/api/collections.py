"""IIIF collections: what the catalogue's filters find, as manifests that viewers open one after another.

    /iiif/collections/all                  all datasets that are ready; filtered as GET /api/datasets is
    /iiif/collections/tag/<tag>            those with a tag; other filters may be added
    /iiif/3/collections/…                  the same
    /iiif/2/collections/…                  the same by the Presentation API 2.1

Newest first. A collection with more manifests than one page ends with the collection of the older ones, so that each
is one read of an index, however large the catalogue is.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response

from gateway.api import collection_documents as documents
from gateway.api.linked_data import IF_NONE_MATCH, answers, base_url, linked_data
from gateway.api.linked_data_schemas import Collection
from gateway.api.listing import TEXT, Filters, find, query_of
from gateway.api.routing import KnownFieldsRoute, Parts
from pipeline.errors import NotFound
from protos.tilewright.status.v1 import status_pb2 as pb

PREFIXES = ("/iiif/collections/", "/iiif/3/collections/", "/iiif/2/collections/")
"""How the paths of collections begin."""

PAGE = 100
"""Manifests of a page: with their names and addresses about 50 kB."""

Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of manifests on a page.")]
Cursor = Annotated[str, Query(max_length=1000, pattern=TEXT, description="Of a page of older manifests.")]

_ANSWERS = answers(Collection, "invalid_request", "search_too_slow")

router = APIRouter(tags=["iiif"], route_class=KnownFieldsRoute)


@router.get(
    "/iiif/collections/all",
    summary="Get a IIIF collection",
    openapi_extra=IF_NONE_MATCH,
    responses=_ANSWERS,
)
@router.get("/iiif/3/collections/all", include_in_schema=False)
@router.get("/iiif/2/collections/all", include_in_schema=False)
async def of_all(
    context: Parts, request: Request, wanted: Filters, *, limit: Limit = PAGE, cursor: Cursor = ""
) -> Response:
    """A Collection of the Presentation API 3.0; by 2.1 below `/iiif/2/`. It has the datasets that are ready."""
    return await _respond(context, request, wanted, "all", limit, cursor)


@router.get(
    "/iiif/collections/tag/{name:path}",
    summary="Get a IIIF collection of a tag",
    openapi_extra=IF_NONE_MATCH,
    responses=_ANSWERS,
)
@router.get("/iiif/3/collections/tag/{name:path}", include_in_schema=False)
@router.get("/iiif/2/collections/tag/{name:path}", include_in_schema=False)
async def of_tag(
    context: Parts, request: Request, wanted: Filters, name: str, *, limit: Limit = PAGE, cursor: Cursor = ""
) -> Response:
    """The same of the datasets with a tag, which may contain slashes."""
    if not name:
        raise NotFound("A tag has to follow /collections/tag/.")
    path = f"tag/{quote(name, safe='')}"
    return await _respond(context, request, wanted, path, limit, cursor, name)


async def _respond(
    context: Parts, request: Request, wanted: pb.ListDatasetsRequest, path: str, limit: int, cursor: str, tag: str = ""
) -> Response:
    """Return a page of a collection.

    Parameters
    ----------
    path: what follows /collections/ in its address.
    tag: the tag that `path` names; "" for none.
    """
    base = base_url(context, request)
    prefix = next(prefix for prefix in PREFIXES if request.url.path.startswith(prefix))
    query = query_of(wanted)
    size = urlencode({"limit": limit}) if limit != PAGE else ""
    filters = [*([("Tag", tag)] if tag else []), *documents.filters_of(wanted)]
    if tag:
        wanted.tags.insert(0, tag)
    wanted.states.append(pb.STATE_READY)
    wanted.page_size, wanted.page_token = limit, cursor
    found = await find(context, wanted, request)
    if found is None:
        return Response(status_code=204)  # The client has disconnected: nobody reads this.

    def address(token: str) -> str:
        parts = (query, size, urlencode({"cursor": token}) if token else "")
        whole = "&".join(part for part in parts if part)
        return f"{base}{prefix}{path}{'?' if whole else ''}{whole}"

    page = documents.Page(
        address=address(cursor),
        first=address("") if cursor else "",
        older=address(found.next_page_token) if found.next_page_token else "",
        title=documents.title(filters),
        datasets=[each for each in found.datasets if each.status.HasField("pyramid")],
    )
    if prefix == PREFIXES[2]:
        return linked_data(context, request, documents.collection_2(page, base), documents.CONTEXT_2)
    return linked_data(context, request, documents.collection(page, base), documents.CONTEXT)
