"""The documents of the older IIIF versions: Image API 2.1 and Presentation API 2.1. Pure.

Section numbers refer to the Image API 2.1.1 (iiif.io/api/image/2.1) and the Presentation API 2.1.1
(iiif.io/api/presentation/2.1).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from gateway.tiles.image_request import Limits
from gateway.tiles.manifest import PageOf, facts_of, pages_of
from gateway.tiles.scale import service_2
from pipeline.pyramids import Format, Geometry
from pipeline.regions import QUALITIES
from protos.tilewright.status.v1 import status_pb2 as pb

IMAGE_CONTEXT = "http://iiif.io/api/image/2/context.json"
PRESENTATION_CONTEXT = "http://iiif.io/api/presentation/2/context.json"
LEVEL_2 = "http://iiif.io/api/image/2/level2.json"

_SUPPORTED = [
    "baseUriRedirect",
    "cors",
    "jsonldMediaType",
    "mirroring",
    "profileLinkHeader",
    "regionSquare",
    "sizeAboveFull",
]
"""Features beyond level 2 (Image API, section 5.3)."""


def info_2(
    geometry: Geometry, tile_format: Format, address: str, stored: Mapping[str, Any], limits: Limits
) -> dict[str, Any]:
    """Return the content of a pyramid's info.json (Image API, section 5.2).

    Parameters
    ----------
    address: URL of the image, without a trailing slash.
    stored: the fields about the stored images.
    limits: of other ones.
    """
    profile = {
        # The first one is preferred by some viewers.
        "formats": sorted(Format, key=lambda kind: kind is not tile_format),
        "qualities": list(QUALITIES),
        "supports": _SUPPORTED,
        "maxWidth": limits.edge,
        "maxArea": limits.area,
    }
    return {
        "@context": IMAGE_CONTEXT,
        "@id": address,
        "protocol": "http://iiif.io/api/image",
        "width": geometry.width,
        "height": geometry.height,
        **stored,
        "profile": [LEVEL_2, profile],
    }


def manifest_2(dataset: pb.Dataset, geometry: Geometry, base: str) -> dict[str, Any]:
    """Return the manifest of a dataset (Presentation API, section 5.1).

    Parameters
    ----------
    dataset: its texts are used.
    geometry: of the pyramid that the dataset shows.
    base: what absolute URLs begin with, without a trailing slash.
    """
    image = f"{base}/iiif/2/{dataset.dataset_id}"
    canvases = [_canvas(page, image) for page in pages_of(dataset, geometry, base)]
    document: dict[str, Any] = {
        "@context": PRESENTATION_CONTEXT,
        "@id": f"{image}/manifest.json",
        "@type": "sc:Manifest",
        "label": dataset.name,
    }
    if dataset.description:
        document["description"] = dataset.description
    if dataset.HasField("attribution"):
        document["attribution"] = _statement(dataset.attribution)
    if dataset.rights.url:
        document["license"] = dataset.rights.url
    if len(canvases) == 1:
        document["rendering"] = canvases[0].pop("rendering")
    return document | {
        "metadata": [{"label": label, "value": value} for label, value in facts_of(dataset, geometry)],
        "thumbnail": canvases[0]["thumbnail"],
        "related": {"@id": f"{base}/view/{dataset.dataset_id}", "format": "text/html"},
        "seeAlso": {"@id": f"{base}/api/datasets/{dataset.dataset_id}", "format": "application/json"},
        "sequences": [{"@type": "sc:Sequence", "canvases": canvases}],
    }


def _canvas(page: PageOf, manifest_image: str) -> dict[str, Any]:
    """Return the canvas of a page (Presentation API, section 5.3), with its archive of tiles."""
    image, canvas = f"{page.base}/iiif/2/{page.name}", f"{manifest_image}/canvas/{page.place}"
    whole = page.geometry.level(page.geometry.full_level)
    width, height = page.thumbnail_size
    resource = {
        "@id": f"{image}/full/{whole.width},/0/default.jpg",
        "@type": "dctypes:Image",
        "format": "image/jpeg",
        "width": whole.width,
        "height": whole.height,
        "service": {"@context": IMAGE_CONTEXT, "@id": image, "profile": LEVEL_2},
    }
    painting = {
        "@id": f"{canvas}/image",
        "@type": "oa:Annotation",
        "motivation": "sc:painting",
        "on": canvas,
        "resource": resource,
    }
    return {
        "@id": canvas,
        "@type": "sc:Canvas",
        "label": page.label,
        "thumbnail": {
            "@id": f"{page.tiles}/thumbnail.jpg",
            "@type": "dctypes:Image",
            "format": "image/jpeg",
            "width": width,
            "height": height,
        },
        "rendering": {
            "@id": f"{page.tiles}.szi",
            "format": "application/zip",
            "label": "All Deep Zoom tiles in one zip file",
        },
        "width": page.geometry.width,
        "height": page.geometry.height,
        **service_2(page.pyramid),
        "images": [painting],
    }


def _statement(statement: pb.Statement) -> str:
    text = html.escape(statement.text or statement.url)
    return f'<a href="{html.escape(statement.url)}">{text}</a>' if statement.url else f"<span>{text}</span>"
