"""How large a pixel is, as IIIF's service Physical Dimensions and as a field of TileJSON. Pure.

Source: iiif.io/api/annex/services, 3.2.
"""

from __future__ import annotations

from typing import Any

from pipeline.pixel_size import METRES
from protos.tilewright.status.v1 import status_pb2 as pb

CONTEXT = "http://iiif.io/api/annex/services/physdim/1/context.json"
PROFILE = "http://iiif.io/api/annex/services/physdim"

_SQUARE = 0.01
"""Relative difference of a pixel's edges up to which it counts as square: the service has one scale for both."""

_MILLIMETRE = 1e-3


def physical_dimensions(said: pb.Pyramid) -> dict[str, Any]:
    """Return the service without its id; an empty one if no pixel size is known, or pixels are not square."""
    size = said.pixel_size
    if not said.HasField("pixel_size") or size.unit not in METRES or abs(size.x / size.y - 1) > _SQUARE:
        return {}
    millimetres = (size.x + size.y) / 2 * METRES[size.unit] / _MILLIMETRE
    scale = float(f"{millimetres:.9g}")
    return {"@context": CONTEXT, "profile": PROFILE, "physicalScale": scale, "physicalUnits": "mm"}


def service_3(said: pb.Pyramid, address: str) -> dict[str, Any]:
    """Return the property of a resource in the form of versions 3, where each service has an id and a type.

    Parameters
    ----------
    address: of the resource.
    """
    found = physical_dimensions(said)
    return {"service": [{"id": f"{address}/physdim", "type": "PhysicalDimensions", **found}]} if found else {}


def service_2(said: pb.Pyramid) -> dict[str, Any]:
    """Return the property of a resource in the form of versions 2."""
    found = physical_dimensions(said)
    return {"service": found} if found else {}


def pixel_size_field(said: pb.Pyramid) -> dict[str, Any]:
    """Return the field of TileJSON; an empty object if no pixel size is known."""
    size = said.pixel_size
    return {"pixel_size": {"x": size.x, "y": size.y, "unit": size.unit}} if said.HasField("pixel_size") else {}
