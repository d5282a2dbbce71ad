"""Collections of the IIIF Presentation API 3.0 and 2.1. Pure.

Section numbers refer to the Presentation API 3.0.0 (iiif.io/api/presentation/3.0), or 2.1.1 for version 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.pyramids import Geometry, thumbnail_size
from protos.tilewright.status.v1 import status_pb2 as pb

CONTEXT = "http://iiif.io/api/presentation/3/context.json"
CONTEXT_2 = "http://iiif.io/api/presentation/2/context.json"

OLDER = "Older images"
"""Label of the collection that a page ends with."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a collection.

    Parameters
    ----------
    address: its own URL.
    first: URL of the first page; "" if this is it.
    older: URL of the next page; "" if this is the last one.
    title: what the collection is called.
    datasets: ready, newest first.
    """

    address: str
    first: str
    older: str
    title: str
    datasets: Sequence[pb.Dataset]


def filters_of(wanted: pb.ListDatasetsRequest) -> list[tuple[str, str]]:
    """Return names and values of the filters in a request, as people read them."""
    one_each = {
        "Category": wanted.category,
        "Subject": wanted.subject,
        "Search": wanted.query,
        "Reference": wanted.reference,
        "SHA-256": wanted.sha256,
    }
    found = [(name, text) for name, text in one_each.items() if text]
    if wanted.url:
        # A query may contain an access token.
        found.append(("URL", wanted.url.partition("?")[0]))
    found += [("Tag", tag) for tag in wanted.tags]
    return found + [(entry.key, entry.value) for entry in wanted.metadata]


def title(filters: Iterable[tuple[str, str]]) -> str:
    """Return what the collection of some filters is called."""
    return ", ".join(f"{name}: {value}" for name, value in filters) or "All images"


def collection(page: Page, base: str) -> dict[str, Any]:
    """Return a page as a Collection of version 3 (section 5.1).

    Parameters
    ----------
    base: what absolute URLs begin with, without a trailing slash.
    """
    items: list[dict[str, Any]] = [
        {
            "id": f"{base}/iiif/{dataset.dataset_id}/manifest.json",
            "type": "Manifest",
            "label": {"none": [dataset.name]},
            "thumbnail": [
                {
                    "id": f"{base}/tiles/{dataset.dataset_id}/thumbnail.jpg",
                    "type": "Image",
                    "format": "image/jpeg",
                    **_thumbnail(dataset),
                }
            ],
        }
        for dataset in page.datasets
    ]
    if page.older:
        items.append({"id": page.older, "type": "Collection", "label": {"en": [OLDER]}})
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": page.address,
        "type": "Collection",
        "label": {"en": [page.title]},
        "items": items,
    }
    if page.first:
        document["partOf"] = [{"id": page.first, "type": "Collection", "label": {"en": [page.title]}}]
    return document


def collection_2(page: Page, base: str) -> dict[str, Any]:
    """Return a page as a collection of version 2.1 (section 5.8). Parameters as of `collection`."""
    document: dict[str, Any] = {
        "@context": CONTEXT_2,
        "@id": page.address,
        "@type": "sc:Collection",
        "label": page.title,
        "manifests": [
            {
                "@id": f"{base}/iiif/2/{dataset.dataset_id}/manifest.json",
                "@type": "sc:Manifest",
                "label": dataset.name,
                "thumbnail": {
                    "@id": f"{base}/tiles/{dataset.dataset_id}/thumbnail.jpg",
                    "@type": "dctypes:Image",
                    "format": "image/jpeg",
                    **_thumbnail(dataset),
                },
            }
            for dataset in page.datasets
        ],
    }
    if page.older:
        document["collections"] = [{"@id": page.older, "@type": "sc:Collection", "label": OLDER}]
    if page.first:
        document["within"] = page.first
    return document


def _thumbnail(dataset: pb.Dataset) -> dict[str, int]:
    pyramid = dataset.status.pyramid
    width, height = thumbnail_size(Geometry(pyramid.width, pyramid.height, pyramid.tile_size))
    return {"width": width, "height": height}
