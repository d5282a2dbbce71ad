"""Read where an image lies from the small files beside it: world files, .prj and GDAL's .aux.xml. Pure functions.

Sources: Esri's description of world files; GDAL's PAM (gdal.org/development/rfc/rfc_pam).
"""

from __future__ import annotations

import math
from typing import NamedTuple
from xml.parsers import expat

from pipeline.georeference import EPSG, MOST_CRS, Georeference, Point

MOST_WORLD, MOST_AUX = 1 << 12, 1 << 16
"""Most bytes of a world file, and of an .aux.xml. One of statistics and histograms alone has a few kilobytes."""

_MOST_DEPTH, _MOST_POINTS = 16, 1000


class SideFiles(NamedTuple):
    """The contents of the files beside an image; empty for those that are not there."""

    world: str = ""
    projection: str = ""
    auxiliary: str = ""


NONE_BESIDE = SideFiles()


def names_beside(image: str) -> dict[str, list[str]]:
    """Return in lower case, for each field of SideFiles, the names that a file beside an image may have."""
    lower = image.lower()
    folder, slash, name = lower.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, ending) if dot else (name, "")
    base = f"{folder}{slash}{stem}"
    endings = [f"{ending[0]}{ending[-1]}w", f"{ending}w"] if ending else []
    return {
        "world": [f"{base}.{each}" for each in (*endings, "wld")],
        "projection": [f"{base}.prj"],
        "auxiliary": [f"{lower}.aux.xml", f"{base}.aux.xml"],
    }


def combined(beside: SideFiles, inside: Georeference | None) -> Georeference | None:
    """Return where an image lies by the first that says it, in GDAL's order: .aux.xml, the file itself, a world file.

    Parameters
    ----------
    inside: what the file itself says.
    """
    auxiliary = auxiliary_file(beside.auxiliary) if beside.auxiliary else Georeference("")
    place = next(
        (one for one in (auxiliary, inside, world_file(beside.world)) if one and (one.transform or one.points)), None
    )
    if place is None:
        return None
    crs = auxiliary.crs or (inside.crs if inside else "") or projection_file(beside.projection)
    return place._replace(crs=crs)


def world_file(text: str) -> Georeference | None:
    """Return what a world file says, which names the middle of the first pixel; None if it is none."""
    try:
        a, d, b, e, c, f = (float(line) for line in text.split()[:6])
    except ValueError:
        return None
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        return None
    return Georeference("", (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2))


def projection_file(text: str) -> str:
    """Return the CRS of a .prj; empty if it is too long."""
    return as_crs(text)


def as_crs(text: str) -> str:
    """Return a CRS on one line: `EPSG:` with a number, or WKT; empty if it is neither, or too long."""
    found = " ".join(text.split())
    is_wkt = found[:1].isalpha() and "[" in found[:40] and found.endswith("]")
    return found if len(found) <= MOST_CRS and (EPSG.fullmatch(found) or is_wkt) else ""


def auxiliary_file(text: str) -> Georeference:
    """Return what an .aux.xml says: a CRS, a transform, control points; as far as it does."""
    reader = _Auxiliary()
    try:
        reader.read(text)
    except (expat.ExpatError, _Refused, ValueError):
        return Georeference("")
    values = reader.transform
    transform = (values[1], values[2], values[0], values[4], values[5], values[3]) if len(values) == 6 else ()
    return Georeference(as_crs(reader.crs), transform, () if transform else tuple(reader.points))


class _Refused(Exception):
    """Raised for XML that is beyond the limits."""


class _Auxiliary:
    """Collects PAMDataset/SRS, PAMDataset/GeoTransform and PAMDataset/GCPList."""

    def __init__(self) -> None:
        self.crs = ""
        self.transform: list[float] = []
        self.points: list[Point] = []
        self._path: list[str] = []
        self._text = ""

    def read(self, text: str) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(text.encode(errors="replace"), True)

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _start(self, name: str, values: dict[str, str]) -> None:
        self._path.append(name)
        self._text = ""
        if len(self._path) > _MOST_DEPTH:
            raise _Refused
        if self._path == ["PAMDataset", "GCPList"] and not self.crs:
            self.crs = values.get("Projection", "")
        if self._path == ["PAMDataset", "GCPList", "GCP"] and len(self.points) < _MOST_POINTS:
            x, y, east, north = (float(values[name]) for name in ("Pixel", "Line", "X", "Y") if name in values)
            self.points.append((x, y, east, north))

    def _end(self, _name: str) -> None:
        if self._path == ["PAMDataset", "SRS"]:
            self.crs = self._text
        if self._path == ["PAMDataset", "GeoTransform"]:
            self.transform = [float(number) for number in self._text.split(",")]
        self._path.pop()

    def _characters(self, text: str) -> None:
        if len(self._path) == 2:
            self._text += text
