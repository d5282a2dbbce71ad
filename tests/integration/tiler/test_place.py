"""The child in which PROJ converts coordinates: what it must not read, and what its parent must not believe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyproj
import pytest

from pipeline.georeference import Georeference, coordinates
from pipeline.sandbox import parent
from pipeline.sandbox.confine import environment
from tiler.place import locate
from tiler.place.protocol import JOBS, REPORTS, Converted, Job

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5400000.0))
PLACES = len(coordinates(UTM, 300, 200))

GRID = 'PARAMETERFILE["Latitude and longitude difference file","{}"]'
WKT = pyproj.CRS.from_epsg(27700).to_wkt("WKT1_ESRI")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


def says(report: str) -> tuple[str, ...]:
    return python(f"import sys; sys.stdin.readline(); print({report!r})")


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:27700", WKT, pyproj.CRS.from_epsg(2056).to_wkt()])
def test_coordinates_are_converted_as_proj_does(crs: str, tmp_path: Path) -> None:
    found = UTM._replace(crs=crs, transform=(10.0, 0.0, 450000.0, 0.0, -10.0, 300000.0))
    located = locate(found, 300, 200, tmp_path)
    convert = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    assert located is not None
    assert located.points[0][2:] == pytest.approx(convert.transform(450000, 300000), abs=1e-8)
    assert located.points[8][2:] == pytest.approx(convert.transform(453000, 298000), abs=1e-8)


@pytest.mark.parametrize(
    "crs",
    [
        "",
        "EPSG:999999",
        "+proj=utm +zone=32",
        "PROJCS[",
        WKT[:-1] + ',EXTENSION["PROJ4","+proj=utm +zone=32 +nadgrids={} +no_defs"]]',
        f'BOUNDCRS[SOURCECRS[{WKT}],TARGETCRS[{WKT}],ABRIDGEDTRANSFORMATION["x",METHOD["NTv2"],{GRID}]]',
        "A" + "[" * 7000,
    ],
)
def test_no_text_makes_proj_read_a_file_or_fails_anything(crs: str, tmp_path: Path) -> None:
    crs = crs.format(tmp_path / "grid") if "{}" in crs else crs
    assert locate(UTM._replace(crs=crs), 300, 200, tmp_path) is None


def test_without_pyproj_only_formulas_are_left(tmp_path: Path) -> None:
    missing = python("import sys; sys.modules['pyproj'] = None; from tiler.place.child import main; main()")
    assert locate(UTM, 300, 200, tmp_path, command=missing) is None
    by_formula = UTM._replace(crs="EPSG:3857")
    assert locate(by_formula, 300, 200, tmp_path, command=missing) == locate(by_formula, 300, 200, tmp_path)


def test_the_child_may_read_no_file_of_others_and_open_no_socket(tmp_path: Path) -> None:
    # Given a child whose PROJ has been taken over
    secret = tmp_path / "secret"
    secret.write_text("secret")
    code = f"""
import socket, sys
import pyproj
from tiler.place import child
def taken_over(*_, **__):
    said = []
    for attempt in ("open({str(secret)!r})", "socket.socket()", "open({str(tmp_path / "new")!r}, 'w')"):
        try:
            eval(attempt)
            said.append("done")
        except OSError:
            pass
    raise ValueError(repr(said))
pyproj.CRS.from_epsg = taken_over
child.main()
"""
    done = _said(python(code), tmp_path)
    assert done == {"unknown": {"reason": "ValueError: []"}}


def _said(command: tuple[str, ...], folder: Path) -> object:
    job = JOBS.encode(Job("EPSG:32632", (0.0, 0.0)))
    with parent.Child(command, job, folder=folder, environment=environment(folder, {}), total=60) as child:
        lines = list(child.lines())
    assert child.exit_code == 0, child.last_words
    return json.loads(lines[-1])


@pytest.mark.parametrize(
    "command",
    [
        says("not a report"),
        says('{"converted": {"degrees": [1, 2]}}'),
        says('{"converted": {"degrees": ["a"]}}'),
        says(REPORTS.encode(Converted((1e9,) * (2 * PLACES))).decode().strip()),
        says('{"converted": {"degrees": [' + ", ".join(["NaN"] * 2 * PLACES) + "]}}"),
        python("import os; os.abort()"),
        python("raise SystemExit(3)"),
        ("/nonexistent/python",),
    ],
)
def test_a_child_that_lies_or_dies_costs_the_place_alone(command: tuple[str, ...], tmp_path: Path) -> None:
    assert locate(UTM, 300, 200, tmp_path, command=command) is None
