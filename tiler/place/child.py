"""The process that converts coordinates by PROJ: `python -I -m tiler.place.child`.

The CRS is text of an untrusted file. So PROJ gets a number, or WKT that cannot name a file; its network is off; and the
process is confined before PROJ reads the text: it may read PROJ's own data, and no other file.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from pipeline.georeference import EPSG
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from tiler.place.protocol import JOBS, REPORTS, Converted, Job, Unknown

MEMORY = 2 << 30
"""Bytes of address space: PROJ maps its database, and needs a hundred megabytes."""

SECONDS = 20
"""CPU seconds: a hundred times those of a conversion."""

NAMES_FILES = re.compile(
    r"EXTENSION|PARAMETERFILE|BOUNDCRS|ABRIDGEDTRANSFORMATION|COORDINATEOPERATION|CONCATENATEDOPERATION|nadgrids|geoidgrids"
    r"|\+proj|\+init",
    re.IGNORECASE,
)
"""What WKT needs in order to name a file, such as a grid of shifts."""


def main() -> None:
    """Do one job and end the process."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Converted | Unknown:
    epsg = EPSG.fullmatch(job.crs)
    if epsg is None and NAMES_FILES.search(job.crs):
        return Unknown("the WKT may name a file")
    try:
        import pyproj  # noqa: PLC0415  an optional package, which takes long
        import pyproj.network  # noqa: PLC0415
    except ImportError:
        return Unknown("pyproj is not installed")
    pyproj.network.set_network_enabled(active=False)  # type: ignore[attr-defined]  # it is documented there
    sandbox.confine(sandbox.Allowance(read=(Path(pyproj.datadir.get_data_dir()),), memory=MEMORY, cpu=SECONDS))
    child.watch_life_line()
    try:
        crs = pyproj.CRS.from_epsg(int(epsg[1])) if epsg else pyproj.CRS.from_wkt(job.crs)
        convert = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        longitudes, latitudes = convert.transform(list(job.coordinates[::2]), list(job.coordinates[1::2]))
    except (pyproj.exceptions.ProjError, ValueError, OverflowError) as error:
        return Unknown(f"{type(error).__name__}: {error}"[:200])
    degrees = [number for pair in zip(longitudes, latitudes, strict=True) for number in pair]
    return Converted(tuple(degrees)) if all(map(math.isfinite, degrees)) else Unknown("not all of it is on Earth")


if __name__ == "__main__":
    main()
