"""The filters that a list of datasets may have, and the rpc that finds what matches."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Query, Request

from gateway.api import own_texts
from gateway.api.context import Context
from gateway.http import disconnected, few
from gateway.rpc import ask
from pipeline.sources import MAX_URL_LENGTH
from pipeline.status import is_search
from pipeline.texts import MAX_FILTERS, MAX_LABEL, MAX_QUERY, MAX_REFERENCE
from protos.tilewright.status.v1 import status_pb2 as pb

TEXT = r"^[^\x00]*$"
"""What a text in a query may be."""

_SHA256 = r"^([0-9a-fA-F]{64})?$"


async def _filters(
    request: Request,
    *,
    category: Annotated[str, Query(max_length=MAX_LABEL, pattern=TEXT, description="Only this category.")] = "",
    subject: Annotated[str, Query(max_length=MAX_LABEL, pattern=TEXT, description="Only this subject.")] = "",
    q: Annotated[
        str,
        Query(
            max_length=MAX_QUERY,
            pattern=TEXT,
            description="Only datasets whose name or description contains this text; case is ignored.",
        ),
    ] = "",
    url: Annotated[
        str,
        Query(max_length=MAX_URL_LENGTH, pattern=TEXT, description="Only datasets submitted with exactly this URL."),
    ] = "",
    sha256: Annotated[
        str,
        Query(pattern=_SHA256, description="Only datasets whose downloaded source has this SHA-256, in hex."),
    ] = "",
    reference: Annotated[
        str, Query(max_length=MAX_REFERENCE, pattern=TEXT, description="Only the dataset with this reference.")
    ] = "",
    tag: Annotated[
        list[str] | None,
        few(),
        Query(max_length=MAX_FILTERS, description="Only datasets with all of these tags."),
    ] = None,
) -> pb.ListDatasetsRequest:
    return pb.ListDatasetsRequest(
        category=category,
        subject=subject,
        query=q,
        url=url,
        sha256=sha256.lower(),
        reference=reference,
        tags=tag,
        metadata=own_texts.filters(request.query_params.multi_items()),
    )


Filters = Annotated[pb.ListDatasetsRequest, Depends(_filters)]
"""Annotation of a route's parameter that receives the filters in a query, all but that by status."""


def query_of(wanted: pb.ListDatasetsRequest) -> str:
    """Return the query that has these filters, always in the same order; "" for none."""
    one_each = {
        "category": wanted.category,
        "subject": wanted.subject,
        "q": wanted.query,
        "url": wanted.url,
        "sha256": wanted.sha256,
        "reference": wanted.reference,
    }
    filters = [(name, text) for name, text in one_each.items() if text]
    filters += [("tag", tag) for tag in wanted.tags]
    filters += [(f"{own_texts.PREFIX}{entry.key}", entry.value) for entry in wanted.metadata]
    return urlencode(filters, quote_via=quote)


async def find(context: Context, wanted: pb.ListDatasetsRequest, request: Request) -> pb.ListDatasetsResponse | None:
    """Return a page of the datasets that match, newest first; None if the client has disconnected meanwhile."""
    if is_search(wanted):
        return await context.searches.find(wanted, disconnected(request.receive))
    return await ask(context.rpc.ListDatasets, wanted)
