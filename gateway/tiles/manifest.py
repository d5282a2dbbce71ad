"""IIIF Presentation API 3.0: a dataset as a manifest with one canvas. Pure.

Section numbers refer to the Presentation API 3.0.0 (iiif.io/api/presentation/3.0).
"""

from __future__ import annotations

import html
from typing import Any

from gateway.tiles import georeference
from gateway.tiles.scale import service_3
from pipeline.pyramids import Geometry, thumbnail_size
from protos.tilewright.status.v1 import status_pb2 as pb

CONTEXT = "http://iiif.io/api/presentation/3/context.json"

LABELS = frozenset({"Category", "Pixel size", "Rights", "Size", "Subject", "Tags"})
"""Labels in English; all others are the client's own."""


def manifest(dataset: pb.Dataset, geometry: Geometry, base: str) -> dict[str, Any]:
    """Return the manifest of a dataset (section 5.2).

    Parameters
    ----------
    dataset: its texts are used, and how large a pixel is.
    geometry: of the pyramid that the dataset shows.
    base: what absolute URLs begin with, without a trailing slash.
    """
    image = f"{base}/iiif/{dataset.dataset_id}"
    tiles = f"{base}/tiles/{dataset.dataset_id}"
    canvas = f"{image}/canvas/0"
    whole = geometry.level(geometry.full_level)
    width, height = thumbnail_size(geometry)
    thumbnail = {
        "id": f"{tiles}/thumbnail.jpg",
        "type": "Image",
        "format": "image/jpeg",
        "width": width,
        "height": height,
    }
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": f"{image}/manifest.json",
        "type": "Manifest",
        "label": _text(dataset.name),
    }
    if dataset.description:
        document["summary"] = _text(dataset.description)
    document["metadata"] = [
        {"label": _english(label) if label in LABELS else _text(label), "value": _text(value)}
        for label, value in facts_of(dataset, geometry)
    ]
    if dataset.rights.url:
        document["rights"] = dataset.rights.url
    if dataset.HasField("attribution"):
        document["requiredStatement"] = {"label": _english("Attribution"), "value": _statement(dataset.attribution)}
    document |= {
        "thumbnail": [thumbnail],
        "homepage": [
            _link(f"{base}/view/{dataset.dataset_id}", "Text", "text/html", _english("Viewer")),
        ],
        "rendering": [
            _link(f"{tiles}.szi", "Dataset", "application/zip", _english("All Deep Zoom tiles in one zip file")),
        ],
        "seeAlso": [
            _link(
                f"{base}/api/datasets/{dataset.dataset_id}", "Dataset", "application/json", _english("Dataset as JSON")
            ),
        ],
        "items": [
            {
                "id": canvas,
                "type": "Canvas",
                # Viewers list canvases by these two. Without them, Mirador shows an address as the name.
                "label": _text(dataset.name),
                "thumbnail": [thumbnail],
                "width": geometry.width,
                "height": geometry.height,
                **service_3(dataset.status.pyramid, canvas),
                **_annotations(dataset, image),
                "items": [
                    {
                        "id": f"{canvas}/page",
                        "type": "AnnotationPage",
                        "items": [
                            {
                                "id": f"{canvas}/page/image",
                                "type": "Annotation",
                                "motivation": "painting",
                                "target": canvas,
                                "body": {
                                    "id": f"{image}/full/{whole.width},{whole.height}/0/default.jpg",
                                    "type": "Image",
                                    "format": "image/jpeg",
                                    "width": whole.width,
                                    "height": whole.height,
                                    "service": [{"id": image, "type": "ImageService3", "profile": "level2"}],
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
    return document


def facts_of(dataset: pb.Dataset, geometry: Geometry) -> list[tuple[str, str]]:
    """Return labels and values of what a manifest says about a dataset, the client's own metadata among it."""
    ours = {
        "Category": dataset.category,
        "Subject": dataset.subject,
        "Size": f"{geometry.width} x {geometry.height} pixels",
        "Pixel size": _pixel_size(dataset.status.pyramid),
    }
    more = {"Tags": ", ".join(dataset.tags), "Rights": dataset.rights.text}
    facts = [*ours.items(), *((entry.key, entry.value) for entry in dataset.metadata), *more.items()]
    return [(label, value) for label, value in facts if value]


def _annotations(dataset: pb.Dataset, image: str) -> dict[str, Any]:
    """Return the canvas's property that leads to the Georeference Annotation, if there is one."""
    if not dataset.status.pyramid.georeference.bounds:
        return {}
    return {"annotations": [{"id": f"{image}/{georeference.PATH}", "type": "AnnotationPage"}]}


def _pixel_size(pyramid: pb.Pyramid) -> str:
    size = pyramid.pixel_size
    edges = f"{size.x:g}" if size.x == size.y else f"{size.x:g} x {size.y:g}"
    return f"{edges} {size.unit}" if pyramid.HasField("pixel_size") else ""


def _link(address: str, kind: str, media_type: str, label: dict[str, list[str]]) -> dict[str, Any]:
    return {"id": address, "type": kind, "format": media_type, "label": label}


def _statement(statement: pb.Statement) -> dict[str, list[str]]:
    """Return a statement as a text with a link, in the HTML that the specification allows (section 4.1)."""
    text = html.escape(statement.text or statement.url)
    if not statement.url:
        return _text(text if text == statement.text else f"<span>{text}</span>")
    return _text(f'<a href="{html.escape(statement.url)}">{text}</a>')


def _english(text: str) -> dict[str, list[str]]:
    return {"en": [text]}


def _text(text: str) -> dict[str, list[str]]:
    """Return a text whose language is not known (section 4.1)."""
    return {"none": [text]}
