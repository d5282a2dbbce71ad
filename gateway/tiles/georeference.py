"""The IIIF Georeference Annotation of a dataset: control points by which Allmaps and others warp its image. Pure.

Source: IIIF Georeference Extension 1.0 (iiif.io/api/extension/georef).
"""

from __future__ import annotations

from typing import Any

from pipeline.pyramids import Geometry
from protos.tilewright.status.v1 import status_pb2 as pb

CONTEXT = "http://iiif.io/api/presentation/3/context.json"
EXTENSION = "http://iiif.io/api/extension/georef/1/context.json"

PATH = "georeference.json"


def annotation_page(dataset: pb.Dataset, geometry: Geometry, base: str) -> dict[str, Any] | None:
    """Return an annotation page with the annotation; None if the image's place in WGS 84 is unknown.

    Parameters
    ----------
    base: what absolute URLs begin with, without a trailing slash.
    """
    place = dataset.status.pyramid.georeference
    if not place.bounds:
        return None
    image = f"{base}/iiif/{dataset.dataset_id}"
    address = f"{image}/{PATH}"
    width, height = geometry.width, geometry.height
    outline = f"0,0 {width},0 {width},{height} 0,{height}"
    # A transform's points are exact, and a projection bends a large image between them. A client's are not.
    warp = {"type": "thinPlateSpline"} if place.transform else {"type": "polynomial", "options": {"order": 1}}
    return {
        "@context": [EXTENSION, CONTEXT],
        "id": address,
        "type": "AnnotationPage",
        "items": [
            {
                "id": f"{address}#annotation",
                "type": "Annotation",
                "motivation": "georeferencing",
                "target": {
                    "type": "SpecificResource",
                    "source": {
                        "id": image,
                        "type": "ImageService3",
                        "width": width,
                        "height": height,
                        "partOf": [{"id": f"{image}/canvas/0", "type": "Canvas"}],
                    },
                    "selector": {
                        "type": "SvgSelector",
                        "value": f'<svg width="{width}" height="{height}"><polygon points="{outline}" /></svg>',
                    },
                },
                "body": {
                    "type": "FeatureCollection",
                    "transformation": warp,
                    "features": [
                        {
                            "type": "Feature",
                            "properties": {"resourceCoords": [point.x, point.y]},
                            "geometry": {"type": "Point", "coordinates": [point.longitude, point.latitude]},
                        }
                        for point in place.control_points
                    ],
                },
            }
        ],
    }
