"""IIIF Presentation API 3.0: a dataset as a manifest with a canvas for each page. Pure.

Section numbers refer to the Presentation API 3.0.0 (iiif.io/api/presentation/3.0).
"""

from __future__ import annotations

import html
from typing import Any, NamedTuple

from gateway.tiles import georeference
from gateway.tiles.scale import service_3
from pipeline.pyramids import Geometry, thumbnail_size
from protos.tilewright.status.v1 import status_pb2 as pb

CONTEXT = "http://iiif.io/api/presentation/3/context.json"

LABELS = frozenset({"Category", "Pages", "Pixel size", "Rights", "Size", "Subject", "Tags"})
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
    canvases = [_canvas(page, image) for page in pages_of(dataset, geometry, base)]
    canvases[0] |= _annotations(dataset, image)
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
        "thumbnail": canvases[0]["thumbnail"],
        "homepage": [
            _link(f"{base}/view/{dataset.dataset_id}", "Text", "text/html", _english("Viewer")),
        ],
        "seeAlso": [
            _link(
                f"{base}/api/datasets/{dataset.dataset_id}", "Dataset", "application/json", _english("Dataset as JSON")
            ),
        ],
        "items": canvases,
    }
    if len(canvases) == 1:
        document["rendering"] = canvases[0].pop("rendering")
    return document


class PageOf(NamedTuple):
    """A page of a dataset, as manifests show it.

    Parameters
    ----------
    place: among the pages that are shown, from 0.
    label: what viewers list it by.
    is_only: whether it is the only one.
    name: the name in its permanent addresses.
    base: what absolute URLs begin with.
    """

    place: int
    label: str
    is_only: bool
    name: str
    base: str
    geometry: Geometry
    pyramid: pb.Pyramid

    @property
    def tiles(self) -> str:
        """What the addresses of its tiles begin with."""
        return f"{self.base}/tiles/{self.name}"

    @property
    def thumbnail_size(self) -> tuple[int, int]:
        """Pixels."""
        return thumbnail_size(self.geometry)


def pages_of(dataset: pb.Dataset, geometry: Geometry, base: str) -> list[PageOf]:
    """Return the pages of a dataset, one for most. Parameters as of `manifest`."""
    pages = dataset.status.pages
    if len(pages) < 2:
        # Viewers list canvases by their labels. Without one, Mirador shows an address as the name.
        return [PageOf(0, dataset.name, True, dataset.dataset_id, base, geometry, dataset.status.pyramid)]
    return [
        PageOf(
            place,
            f"Page {place + 1}",
            False,
            f"{dataset.dataset_id}-p{page.number}" if place else dataset.dataset_id,
            base,
            Geometry(page.pyramid.width, page.pyramid.height, page.pyramid.tile_size),
            page.pyramid,
        )
        for place, page in enumerate(pages)
    ]


def _canvas(page: PageOf, manifest_image: str) -> dict[str, Any]:
    """Return the canvas of a page (section 5.3), with its archive of tiles."""
    image, canvas = f"{page.base}/iiif/{page.name}", f"{manifest_image}/canvas/{page.place}"
    whole = page.geometry.level(page.geometry.full_level)
    width, height = page.thumbnail_size
    return {
        "id": canvas,
        "type": "Canvas",
        "label": _text(page.label) if page.is_only else _english(page.label),
        "thumbnail": [
            {
                "id": f"{page.tiles}/thumbnail.jpg",
                "type": "Image",
                "format": "image/jpeg",
                "width": width,
                "height": height,
            }
        ],
        "rendering": [
            _link(f"{page.tiles}.szi", "Dataset", "application/zip", _english("All Deep Zoom tiles in one zip file")),
        ],
        "width": page.geometry.width,
        "height": page.geometry.height,
        **service_3(page.pyramid, canvas),
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


def facts_of(dataset: pb.Dataset, geometry: Geometry) -> list[tuple[str, str]]:
    """Return labels and values of what a manifest says about a dataset, the client's own metadata among it."""
    pages = len(dataset.status.pages)
    ours = {
        "Category": dataset.category,
        "Subject": dataset.subject,
        "Pages": str(pages) if pages > 1 else "",
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
