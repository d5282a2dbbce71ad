"""Where an image lies on Earth: transforms, WGS 84 by formula, bounds, what people write. Pure functions.

A transform (a, b, c, d, e, f) leads from pixels of the full, upright image to a coordinate reference system (CRS):
X = a x + b y + c and Y = d x + e y + f. (0, 0) is the outer corner of the first pixel, whatever a file calls a pixel.
X is the easting or the longitude, whatever order the CRS has.

Sources: EPSG Guidance Note 7-2, 1.3.3 (Popular Visualisation Pseudo-Mercator); RFC 7946, 5.2 (the antimeridian).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline import pixel_size
from pipeline.pixel_size import PixelSize

DEGREES, MERCATOR = "EPSG:4326", "EPSG:3857"
"""The systems that are converted to WGS 84 by formula."""

EPSG = re.compile(r"EPSG:([0-9]{4,6})")

MOST_CRS = 8000
"""Most characters of a CRS: WKT of a projected one has about 1,500."""

MOST_POINTS = 100
"""Most control points."""

LEAST_POINTS = 3
"""Fewer do not say how an image lies."""

MOST_NUMBER = 1e12
"""Greatest absolute value of a number in a transform or a control point: no CRS of the Earth has such coordinates."""

RADIUS = 6378137.0
"""Of EPSG:3857's sphere, and WGS 84's semi-major axis, in metres."""

_ECCENTRICITY_2 = 0.00669437999014
"""The square of WGS 84's eccentricity."""

_STEPS = 20
"""Pieces into which each edge of an image is cut, since it may be curved in WGS 84."""

_SAME_SCALE = 0.02
"""Relative difference of the scales of an image's parts up to which it has one pixel size."""

_LEAST_AREA = 1e-9
"""Least area of three control points' triangle, as a share of the square of their distances."""

_NUMBER = r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?"
TRANSFORM_TEXT = re.compile(rf"\s*(EPSG:[0-9]{{4,6}})((?:[\s,]+{_NUMBER}){{6}})\s*", re.ASCII)
POINT_TEXT = re.compile(rf"\s*({_NUMBER}(?:[\s,]+{_NUMBER}){{3}})\s*", re.ASCII)

Point = tuple[float, float, float, float]
"""x and y in pixels, then an easting and a northing, or a longitude and a latitude."""

Pair = tuple[float, float]


class Georeference(NamedTuple):
    """How a file or a client says that an image lies: a transform, or control points.

    Parameters
    ----------
    crs: "EPSG:" with a number, or WKT; empty if unknown.
    transform: six numbers; none if there are control points.
    points: in the CRS.
    """

    crs: str
    transform: tuple[float, ...] = ()
    points: tuple[Point, ...] = ()


class Located(NamedTuple):
    """Where an image lies in WGS 84.

    Parameters
    ----------
    points: control points with longitude and latitude in degrees.
    bounds: west, south, east and north in degrees. West is greater than east if the antimeridian is between them.
    """

    points: tuple[Point, ...]
    bounds: tuple[float, float, float, float]


def sane(found: Georeference) -> Georeference | None:
    """Return a georeference if it can be used: None if it is empty, not finite, beyond the limits, or flattens."""
    numbers = (*found.transform, *(number for point in found.points for number in point))
    if any(not math.isfinite(number) or abs(number) > MOST_NUMBER for number in numbers):
        return None
    if len(found.crs) > MOST_CRS or not found.crs.isprintable():
        found = found._replace(crs="")
    if found.transform:
        if len(found.transform) != 6 or is_flat(found.transform):
            return None
        return found._replace(points=())
    points = thinned(found.points)
    return found._replace(points=points) if fit(points) else None


def is_flat(transform: Sequence[float]) -> bool:
    """Return whether a transform leads all pixels to one line."""
    a, b, _, d, e, _ = transform
    return abs(a * e - b * d) <= 1e-12 * max(abs(a * e), abs(b * d), 1e-300) or not (a or b) or not (d or e)


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return at most MOST_POINTS of the points, evenly spread."""
    step = max(1.0, len(points) / MOST_POINTS)
    return tuple(points[int(at * step)] for at in range(min(len(points), MOST_POINTS)))


def apply(transform: Sequence[float], x: float, y: float) -> Pair:
    """Return where a transform leads a pixel to."""
    a, b, c, d, e, f = transform
    return a * x + b * y + c, d * x + e * y + f


def after(transform: Sequence[float], first: Sequence[float]) -> tuple[float, ...]:
    """Return the transform that has the effect of `first`, from pixels to pixels, and then of `transform`."""
    a, b, c, d, e, f = transform
    g, h, i, j, k, m = first
    return (a * g + b * j, a * h + b * k, a * i + b * m + c, d * g + e * j, d * h + e * k, d * i + e * m + f)


def stored_by_upright(orientation: int, width: int, height: int) -> tuple[float, ...]:
    """Return the transform from pixels of the upright image to those of the stored one.

    Parameters
    ----------
    orientation: EXIF's, 1 to 8.
    width, height: of the stored image.
    """
    return {
        2: (-1, 0, width, 0, 1, 0),
        3: (-1, 0, width, 0, -1, height),
        4: (1, 0, 0, 0, -1, height),
        5: (0, 1, 0, 1, 0, 0),
        6: (0, 1, 0, -1, 0, height),
        7: (0, -1, width, -1, 0, height),
        8: (0, -1, width, 1, 0, 0),
    }.get(orientation, (1, 0, 0, 0, 1, 0))


def turned(found: Georeference, first: Sequence[float]) -> Georeference:
    """Return a georeference of another view of the image. `first` leads from its pixels to those of `found`."""
    if found.transform:
        return found._replace(transform=after(found.transform, first))
    a, b, c, d, e, f = first
    area = a * e - b * d
    back = (e / area, -b / area, (b * f - e * c) / area, -d / area, a / area, (d * c - a * f) / area)
    return found._replace(points=tuple((*apply(back, x, y), east, north) for x, y, east, north in found.points))


def positions(found: Georeference, width: int, height: int) -> tuple[list[Pair], list[Pair]]:
    """Return pixels of a grid of control points, and those along the edges; the latter and their CRS define bounds."""
    if found.transform:
        grid = [(width * x / 2, height * y / 2) for y in range(3) for x in range(3)]
    else:
        grid = [point[:2] for point in found.points]
    steps = [step / _STEPS for step in range(_STEPS)]
    edges = [(width * step, 0.0) for step in steps] + [(float(width), height * step) for step in steps]
    edges += [(width * (1 - step), float(height)) for step in steps] + [(0.0, height * (1 - step)) for step in steps]
    return grid, edges


def coordinates(found: Georeference, width: int, height: int) -> list[Pair]:
    """Return the CRS coordinates of `positions`, those of the grid first."""
    grid, edges = positions(found, width, height)
    if found.transform:
        return [apply(found.transform, *pixel) for pixel in (*grid, *edges)]
    fitted = fit(found.points) or ()
    return [point[2:] for point in found.points] + [apply(fitted, *pixel) for pixel in edges]


def by_formula(crs: str, pairs: Iterable[Pair]) -> list[Pair] | None:
    """Return longitudes and latitudes of coordinates; None if the CRS needs more than a formula."""
    if crs == DEGREES:
        return list(pairs)
    if crs == MERCATOR:
        # Beyond 700 radians of latitude, sinh is not finite.
        limited = [(x / RADIUS, max(-700.0, min(y / RADIUS, 700.0))) for x, y in pairs]
        return [(math.degrees(x), math.degrees(math.atan(math.sinh(y)))) for x, y in limited]
    return None


def located(found: Georeference, width: int, height: int, degrees: Sequence[Pair]) -> Located | None:
    """Return where an image lies; None if not all of it is on Earth.

    Parameters
    ----------
    degrees: longitude and latitude of `coordinates`, in their order.
    """
    grid, edges = positions(found, width, height)
    if len(degrees) != len(grid) + len(edges):
        return None
    if any(not (math.isfinite(x) and math.isfinite(y)) or abs(x) > 540 or abs(y) > 90 + 1e-9 for x, y in degrees):
        return None
    ring = _unwrapped([longitude for longitude, _ in degrees[len(grid) :]])
    latitudes = [latitude for _, latitude in degrees[len(grid) :]]
    west, east = min(ring), max(ring)
    whole = east - west >= 360 - 1e-9
    bounds = (
        -180.0 if whole else _wrapped(west),
        max(-90.0, min(latitudes)),
        180.0 if whole else _wrapped(east, is_east=True),
        min(90.0, max(latitudes)),
    )
    points = tuple(
        (float(x), float(y), _rounded(_wrapped(longitude)), _rounded(latitude))
        for (x, y), (longitude, latitude) in zip(grid, degrees, strict=False)
    )
    rounded = tuple(map(_rounded, bounds))
    return Located(points, (rounded[0], rounded[1], rounded[2], rounded[3]))


def located_by_formula(found: Georeference, width: int, height: int) -> Located | None:
    """As `located`, for a CRS that is converted by formula; None for others."""
    degrees = by_formula(found.crs, coordinates(found, width, height))
    return None if degrees is None else located(found, width, height, degrees)


def ground_size(place: Located) -> PixelSize | None:
    """Return how large a pixel is on the ground; None if that differs between the image's parts."""
    if len(place.points) != 9:
        return None
    sizes = []
    for corner, right, below in ((0, 1, 3), (4, 5, 7), (7, 8, 4), (5, 4, 2)):
        one, two, three = (place.points[at] for at in (corner, right, below))
        across, down = abs(two[0] - one[0]), abs(three[1] - one[1])
        if not (across and down):
            return None
        sizes.append((_metres(one, two) / across, _metres(one, three) / down))
    for edges in zip(*sizes, strict=True):
        if min(edges) <= 0 or max(edges) / min(edges) - 1 > _SAME_SCALE:
            return None
    return pixel_size.of_metres(*(float(f"{edge:.6g}") for edge in sizes[1]))


def _metres(one: Point, other: Point) -> float:
    """Return the distance of two near points on WGS 84's ellipsoid."""
    middle = math.radians((one[3] + other[3]) / 2)
    bend = 1 - _ECCENTRICITY_2 * math.sin(middle) ** 2
    east = math.radians(_wrapped(other[2] - one[2])) * RADIUS / math.sqrt(bend) * math.cos(middle)
    north = math.radians(other[3] - one[3]) * RADIUS * (1 - _ECCENTRICITY_2) / bend**1.5
    return math.hypot(east, north)


def fit(points: Sequence[Point]) -> tuple[float, ...] | None:
    """Return the transform that fits control points best; None if they are too few, or on one line."""
    if len(points) < LEAST_POINTS:
        return None
    count = len(points)
    mean_x, mean_y = sum(point[0] for point in points) / count, sum(point[1] for point in points) / count
    xs, ys = [point[0] - mean_x for point in points], [point[1] - mean_y for point in points]
    xx, yy = sum(x * x for x in xs), sum(y * y for y in ys)
    xy = sum(x * y for x, y in zip(xs, ys, strict=True))
    area = xx * yy - xy * xy
    if not area > _LEAST_AREA * max(xx, yy) ** 2:
        return None
    rows: list[float] = []
    for at in (2, 3):
        mean = sum(point[at] for point in points) / count
        values = [point[at] - mean for point in points]
        xv = sum(x * value for x, value in zip(xs, values, strict=True))
        yv = sum(y * value for y, value in zip(ys, values, strict=True))
        a, b = (xv * yy - yv * xy) / area, (yv * xx - xv * xy) / area
        rows += [a, b, mean - a * mean_x - b * mean_y]
    return tuple(rows) if all(map(math.isfinite, rows)) and not is_flat(rows) else None


def parse_text(text: str) -> Georeference:
    """Return what people write; raises ValueError.

    Either `EPSG:3857 a b c d e f`, or control points as `x y longitude latitude; x y longitude latitude; …`.
    """
    if found := TRANSFORM_TEXT.fullmatch(text):
        return given(found[1], [float(number) for number in re.split(r"[\s,]+", found[2].strip(" ,\t\r\n"))], [])
    parts = [POINT_TEXT.fullmatch(part) for part in text.split(";")[: MOST_POINTS + 1]]
    if not text.strip() or not all(parts):
        raise ValueError("write it as `EPSG:3857 a b c d e f`, or as `x y longitude latitude; …`")
    points = [[float(number) for number in re.split(r"[\s,]+", part[1])] for part in parts if part]
    return given("", [], [(x, y, longitude, latitude) for x, y, longitude, latitude in points])


def given(crs: str, transform: Sequence[float], points: Sequence[Point]) -> Georeference:
    """Return what a client says; raises ValueError, with a message for people, if it cannot be used."""
    if bool(transform) == bool(points):
        raise ValueError("give either crs and transform, or control_points")
    if points and crs not in {"", DEGREES}:
        raise ValueError(f"control_points are in degrees, so crs is {DEGREES}, or left out")
    if transform and crs not in {DEGREES, MERCATOR}:
        raise ValueError(f"a transform is taken in {DEGREES} or {MERCATOR}; for another crs, give control_points")
    if len(points) > MOST_POINTS:
        raise ValueError(f"there may be at most {MOST_POINTS} control_points")
    if any(not (abs(longitude) <= 180 and abs(latitude) <= 90) for *_, longitude, latitude in points):
        raise ValueError("longitudes go from -180 to 180, and latitudes from -90 to 90")
    found = sane(Georeference(crs or DEGREES, tuple(map(float, transform)), tuple(points)))
    if found is None and transform:
        raise ValueError("the transform must have six finite numbers, and must not lead all pixels to one line")
    if found is None:
        raise ValueError(f"there must be at least {LEAST_POINTS} control_points that are not on one line")
    return found


def _unwrapped(longitudes: Sequence[float]) -> list[float]:
    """Return longitudes so that no step between neighbours is longer than half of the Earth."""
    found = list(longitudes[:1])
    for longitude in longitudes[1:]:
        step = longitude - found[-1]
        # A whole turn between two neighbours is a step that the CRS itself takes.
        found.append(longitude if abs(step) <= 180 else longitude - 360 * round(step / 360))
    return found


def _wrapped(longitude: float, *, is_east: bool = False) -> float:
    """Return a longitude from -180 to 180."""
    if -180 <= longitude <= 180:
        return longitude
    found = (longitude + 180) % 360 - 180
    return 180.0 if is_east and found == -180 else found


def _rounded(degrees: float) -> float:
    """Return degrees to a tenth of a millimetre."""
    return round(degrees, 9)
