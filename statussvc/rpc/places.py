"""Where an image lies on Earth, in requests and in views. Functions of requests raise Malformed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline import georeference
from pipeline.georeference import Georeference, Located
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.rpc.malformed import Malformed


def given(request: pb.CreateDatasetRequest | pb.UpdateDatasetRequest) -> pb.Georeference | None:
    """Check what a client says, and return it; None if it says nothing, or it is to be forgotten."""
    said = request.georeference
    if not said.ListFields():
        return None
    if said.bounds:
        raise Malformed("georeference.bounds: follow from the rest")
    try:
        return _message(georeference.given(said.crs, said.transform, _points(said)))
    except ValueError as error:
        raise Malformed(f"georeference: {error}") from error


def built(result: pb.TilerResult) -> pb.Georeference | None:
    """Check what a worker says; None if it says nothing."""
    said = result.georeference
    if not result.HasField("georeference"):
        return None
    points = _points(said)
    is_place = bool(said.transform or points) and len(said.transform) in {0, 6}
    is_short = len(points) <= georeference.MOST_POINTS and len(said.crs) <= georeference.MOST_CRS
    numbers = (*said.transform, *said.bounds, *(number for point in points for number in point))
    if not (is_place and is_short and all(map(math.isfinite, numbers)) and len(said.bounds) in {0, 4}):
        raise Malformed("tiler.georeference: must have a transform or control points, and finite numbers")
    return said


def shown(said: pb.Georeference, width: int, height: int) -> pb.Georeference:
    """Return what a client says, with control points and bounds in WGS 84, which depend on the image's size."""
    found = Georeference(said.crs, tuple(said.transform), tuple(_points(said)))
    return _message(found, georeference.located_by_formula(found, width, height))


def _points(said: pb.Georeference) -> list[georeference.Point]:
    return [(point.x, point.y, point.longitude, point.latitude) for point in said.control_points]


def _message(found: Georeference, place: Located | None = None) -> pb.Georeference:
    message = pb.Georeference(crs=found.crs, transform=found.transform)
    points: Sequence[georeference.Point] = place.points if place else found.points
    for x, y, longitude, latitude in points:
        message.control_points.add(x=x, y=y, longitude=longitude, latitude=latitude)
    if place:
        message.bounds.extend(place.bounds)
    return message
