"""What a client says of its image in requests: tags, metadata, rights, attribution, scale and place.

Every function raises Malformed where a request breaks the rules of status.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from pipeline.pixel_size import parse as parse_pixel_size
from pipeline.sources import MAX_URL_LENGTH
from pipeline.texts import (
    MAX_FILTERS,
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_VALUE,
    MAX_STATEMENT,
    MAX_TAG,
    MAX_TAGS,
)
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db import as_json, labels
from statussvc.rpc import places
from statussvc.rpc.malformed import Malformed

_FIELDS: Final = ("tags", "metadata", "rights", "attribution", "pixel_size", "georeference")


def stored(request: pb.CreateDatasetRequest) -> str:
    """The texts of a new dataset, as its column holds them."""
    texts = pb.Dataset(
        tags=_tags(request.tags),
        metadata=_entries(request.metadata),
        pixel_size=pixel_size(request),
        georeference=places.given(request),
    )
    _state(texts.rights, "rights", request.rights)
    _state(texts.attribution, "attribution", request.attribution)
    _leave_out_empty(texts)
    return as_json(texts)


def change(request: pb.UpdateDatasetRequest) -> Callable[[pb.Dataset], pb.Dataset] | None:
    """A function that returns the new texts for the present ones; None if nothing changes."""
    if not any(request.HasField(field) for field in _FIELDS):
        return None
    size, place = pixel_size(request), places.given(request)
    tags, entries = _tags(request.tags.tags), _entries(request.metadata.entries)
    rights, attribution = pb.Statement(), pb.Statement()
    _state(rights, "rights", request.rights)
    _state(attribution, "attribution", request.attribution)

    def merge(present: pb.Dataset) -> pb.Dataset:
        metadata = {} if request.metadata.clear else {entry.key: entry.value for entry in present.metadata}
        for key in request.metadata.removed:
            metadata.pop(key, None)
        metadata |= {entry.key: entry.value for entry in entries}
        merged = pb.Dataset(
            tags=tags if request.HasField("tags") else present.tags,
            metadata=_entries(pb.MetadataEntry(key=key, value=value) for key, value in metadata.items()),
            rights=rights if request.HasField("rights") else present.rights,
            attribution=attribution if request.HasField("attribution") else present.attribution,
        )
        if request.HasField("pixel_size"):
            merged.pixel_size.MergeFrom(size or pb.PixelSize())
        elif present.HasField("pixel_size"):
            merged.pixel_size.CopyFrom(present.pixel_size)
        if request.HasField("georeference"):
            merged.georeference.MergeFrom(place or pb.Georeference())
        elif present.HasField("georeference"):
            merged.georeference.CopyFrom(present.georeference)
        _leave_out_empty(merged)
        return merged

    return merge


def pixel_size(request: pb.CreateDatasetRequest | pb.UpdateDatasetRequest | pb.TilerResult) -> pb.PixelSize | None:
    """Check how large a pixel is said to be, and return it; None if nothing is said, or it is to be forgotten."""
    given = request.pixel_size
    if not given.ListFields():
        return None
    try:
        return pb.PixelSize(**parse_pixel_size(given.x, given.y, given.unit)._asdict())
    except ValueError as error:
        raise Malformed(f"pixel_size: {error}") from error


def filters(request: pb.ListDatasetsRequest) -> tuple[str, ...]:
    """The tags and entries that all listed datasets must have, as the index has them."""
    found = [labels.tag_hash(tag) for tag in request.tags]
    found += [labels.entry_hash(entry.key, entry.value) for entry in request.metadata]
    if len(found) > MAX_FILTERS:
        raise Malformed(f"tags: at most {MAX_FILTERS} tags and metadata entries may be given")
    return tuple(dict.fromkeys(found))


def _tags(tags: Iterable[str]) -> list[str]:
    """Check tags, and return each once, in order."""
    found = list(dict.fromkeys(tags))
    if len(found) > MAX_TAGS:
        raise Malformed(f"tags: must be at most {MAX_TAGS}")
    if any(not tag.strip() or len(tag) > MAX_TAG for tag in found):
        raise Malformed(f"tags: each must have 1 to {MAX_TAG} characters")
    return found


def _entries(entries: Iterable[pb.MetadataEntry]) -> list[pb.MetadataEntry]:
    """Check metadata, and return it by key. Of entries with the same key, the last counts."""
    found = {entry.key: entry for entry in entries}
    if len(found) > MAX_METADATA:
        raise Malformed(f"metadata: must have at most {MAX_METADATA} keys")
    for key, entry in found.items():
        if not key.strip() or len(key) > MAX_METADATA_KEY:
            raise Malformed(f"metadata: each key must have 1 to {MAX_METADATA_KEY} characters")
        if len(entry.value) > MAX_METADATA_VALUE:
            raise Malformed(f"metadata: each value must have at most {MAX_METADATA_VALUE:,} characters")
    return [found[key] for key in sorted(found)]


def _state(target: pb.Statement, field: str, statement: pb.Statement) -> None:
    """Check a statement, and copy it."""
    if len(statement.text) > MAX_STATEMENT:
        raise Malformed(f"{field}: the text must have at most {MAX_STATEMENT:,} characters")
    if statement.url and not _is_web_address(statement.url):
        raise Malformed(f"{field}: the URL must begin with http:// or https://, and name a host")
    target.CopyFrom(statement)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if any(character <= " " or character == "\x7f" for character in url):
            return False
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and len(url) <= MAX_URL_LENGTH
    except ValueError:
        return False


def _leave_out_empty(texts: pb.Dataset) -> None:
    """Leave out messages that say nothing."""
    for field in ("rights", "attribution", "pixel_size", "georeference"):
        if not getattr(texts, field).ListFields():
            texts.ClearField(field)
