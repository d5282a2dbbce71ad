"""Read where a GeoTIFF says that it lies. Pure functions.

Source: OGC GeoTIFF 1.1 (19-008r4): 7.1.1 (tags), 7.1.2 (PixelIsPoint), B.1 (geo keys). As in GDAL, y always points
downwards.
"""

from __future__ import annotations

import re

from pipeline.formats import tiff
from pipeline.formats.tiff.decimals import decimals
from pipeline.formats.tiff.scale import ratio_of
from pipeline.georeference import MOST_CRS, Georeference, turned

PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, TEXTS = 33550, 33922, 34264, 34737

_RASTER_TYPE, _CITATION, _GEOGRAPHIC, _PROJECTED, _PROJECTED_CITATION = 1025, 1026, 2048, 3072, 3073
_POINT = 2
_MOST_KEYS = 1000
_MOST_TIEPOINTS = 10_000
_EPSG_CODES = range(1024, 32767)
"""Codes that are EPSG's; 32767 stands for a CRS that the file defines itself."""

_ESRI = re.compile(r"ESRI PE String = (\w+\[.*\])", re.DOTALL)


def georeference_of(file: tiff.File, place: tiff.Place) -> Georeference | None:
    """Return where a page lies, in pixels as stored; None if the file does not say it.

    A smaller version of the first page has the first page's place.

    Raises
    ------
    struct.error: if the file ends within a directory.
    """
    directory = place.read(file)
    if (found := by_directory(directory)) is not None:
        return found
    if place.number == 0 or not place.is_reduced:
        return None
    first = next(iter(tiff.directories(file)))
    whole, ratio = by_directory(first), ratio_of(first, directory)
    return turned(whole, (ratio[0], 0, 0, 0, ratio[1], 0)) if whole and ratio else None


def by_directory(directory: tiff.Directory) -> Georeference | None:
    """Return where the page of a directory lies; None if it does not say it. Raises as `georeference_of`."""
    keys = _keys(directory)
    shift = 0.5 if keys.get(_RASTER_TYPE) == _POINT else 0.0
    crs = _crs(keys, directory)
    matrix = decimals(directory, TRANSFORMATION, 16)
    if len(matrix) == 16:
        found = Georeference(crs, (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]))
        return turned(found, (1, 0, -shift, 0, 1, -shift))
    scale, ties = decimals(directory, PIXEL_SCALE, 3), decimals(directory, TIEPOINTS, 6 * _MOST_TIEPOINTS)
    points = [ties[at : at + 6] for at in range(0, len(ties) - 5, 6)]
    if len(scale) >= 2 and points:
        i, j, _, x, y, _ = points[0]
        across, down = scale[0], -abs(scale[1])
        return Georeference(crs, (across, 0.0, x - (i + shift) * across, 0.0, down, y - (j + shift) * down))
    if len(points) > 1:
        return Georeference(crs, points=tuple((i + shift, j + shift, x, y) for i, j, _, x, y, _ in points))
    return None


def _keys(directory: tiff.Directory) -> dict[int, int | tuple[int, int]]:
    """Return the geo keys that are numbers, and for texts their places."""
    # Not more than the keys need: a tag may have hundreds of megabytes.
    values = [int(value) for value in decimals(directory, tiff.Tag.GEO_KEYS, 4 * _MOST_KEYS)]
    found: dict[int, int | tuple[int, int]] = {}
    for at in range(4, len(values) - 3, 4):
        key, where, count, value = values[at : at + 4]
        if where == 0:
            found[key] = value
        elif where == TEXTS:
            found[key] = (value, count)
    return found


def _crs(keys: dict[int, int | tuple[int, int]], directory: tiff.Directory) -> str:
    for key in (_PROJECTED, _GEOGRAPHIC):
        code = keys.get(key)
        if code in _EPSG_CODES:
            return f"EPSG:{code}"
        if code is not None:
            break  # The file defines its own system.
    entry = directory.entries.get(TEXTS)
    for key in (_CITATION, _PROJECTED_CITATION):
        place = keys.get(key)
        if entry is not None and isinstance(place, tuple) and place[1] <= MOST_CRS:
            text = directory.beginning(entry, place[0] + place[1])[place[0] :].decode("latin-1")
            if found := _ESRI.search(text):
                return found[1]
    return ""
