"""What a client says of its image in requests: reference, tags, metadata, rights, attribution, scale, place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.api import own_text_schemas, request_schemas
from pipeline.georeference import Georeference
from protos.tilewright.status.v1 import status_pb2 as pb

PREFIX = "metadata."
"""How the name of a query parameter begins that filters by a key of the metadata."""

FILTER: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata.KEY",
            "in": "query",
            "description": "Only datasets whose metadata has exactly this value for KEY. Several keys may be given.",
            "schema": {"type": "string"},
        }
    ]
}
"""The OpenAPI of those parameters, which have no fixed names."""

_TEXTS = ("name", "description", "category", "subject", "url", "reference")


def entries(metadata: Mapping[str, str | None] | None) -> list[pb.MetadataEntry]:
    """Return the entries that have a value."""
    found = (metadata or {}).items()
    return [pb.MetadataEntry(key=key, value=value) for key, value in found if value is not None]


def statement(given: own_text_schemas.Statement | None) -> pb.Statement:
    """Return a statement, empty for null."""
    return pb.Statement() if given is None else pb.Statement(text=given.text, url=given.url)


def pixel_size(given: own_text_schemas.PixelSize | None) -> pb.PixelSize | None:
    """Return how large a pixel is said to be; None for null."""
    return None if given is None else pb.PixelSize(x=given.x, y=given.y, unit=given.unit)


def place(given: Georeference | None) -> pb.Georeference | None:
    """Return where an image is said to lie; None for null."""
    if given is None:
        return None
    message = pb.Georeference(crs=given.crs, transform=given.transform)
    for x, y, longitude, latitude in given.points:
        message.control_points.add(x=x, y=y, longitude=longitude, latitude=latitude)
    return message


def filters(parameters: Iterable[tuple[str, str]]) -> list[pb.MetadataEntry]:
    """Return the entries that a list is filtered by, of all query parameters."""
    return [
        pb.MetadataEntry(key=name.removeprefix(PREFIX), value=value)
        for name, value in parameters
        if name.startswith(PREFIX)
    ]


def update(dataset_id: str, new: request_schemas.DatasetChange) -> pb.UpdateDatasetRequest:
    """Return the request that changes what a body has set."""
    request = pb.UpdateDatasetRequest(dataset_id=dataset_id)
    for field in new.model_fields_set.intersection(_TEXTS):
        setattr(request, field, getattr(new, field) or "")
    if "tags" in new.model_fields_set:
        request.tags.CopyFrom(pb.TagList(tags=new.tags))
    if "metadata" in new.model_fields_set:
        removed = [key for key, value in (new.metadata or {}).items() if value is None]
        change = pb.MetadataChange(clear=new.metadata is None, removed=removed, entries=entries(new.metadata))
        request.metadata.CopyFrom(change)
    if "rights" in new.model_fields_set:
        request.rights.CopyFrom(statement(new.rights))
    if "attribution" in new.model_fields_set:
        request.attribution.CopyFrom(statement(new.attribution))
    if "pixel_size" in new.model_fields_set:
        request.pixel_size.CopyFrom(pixel_size(new.pixel_size) or pb.PixelSize())
    if "georeference" in new.model_fields_set:
        request.georeference.CopyFrom(place(new.georeference) or pb.Georeference())
    return request
