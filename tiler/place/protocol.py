"""Messages between the child that converts coordinates and its parent, one a line: see pipeline.sandbox.lines."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.sandbox.lines import Codec


class Job(NamedTuple):
    """Coordinates to convert.

    Parameters
    ----------
    crs: of the coordinates: "EPSG:" with a number, or WKT.
    coordinates: eastings and northings by turns.
    """

    crs: str
    coordinates: tuple[float, ...]


class Converted(NamedTuple):
    """Longitudes and latitudes by turns, in degrees of WGS 84, in the order of the job."""

    degrees: tuple[float, ...]


class Unknown(NamedTuple):
    """The coordinates cannot be converted."""

    reason: str


Report = Converted | Unknown

JOBS = Codec[Job]("job", {"job": Job})

REPORTS = Codec[Report]("report", {"converted": Converted, "unknown": Unknown})
