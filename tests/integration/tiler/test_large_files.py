"""Large images of every kind through the confined child, which may load nothing once it is confined."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.support.images import pictures, tiffs
from tests.support.images.matrix import CASES
from tiler.job import JOBS, REPORTS, Built, Job, Report
from tiler.parent import environment

EVERY_PAGE_IS_LARGE = """
import tiler.build.preview, tiler.child, tiler.decode.sampling
tiler.build.preview.LEAST_PIXELS = tiler.decode.sampling.SMALL_PIXELS = 0
tiler.child.main()
"""
"""The child with its thresholds lowered, so that small files take the paths of large ones."""

OPTIONS: tuple[dict[str, Any], ...] = (
    {"preview": True},
    {"stretch": "range", "tile_format": "png"},
    {"stretch": "percentile:1,99", "tile_format": "webp", "accept_damage": True},
    {"stretch": "asinh", "tile_format": "jpg", "preview": True},
    {"stretch": "none", "preview": True},
)

LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rows": 8},
    "tiles": {"tile": 16},
    "planes": {"tile": 16, "planar": True},
}

PATIENCE = 120
"""Seconds after which a child counts as hanging."""


def built(source: Path, **options: Any) -> tuple[Report | None, str]:
    """Returns the last report of a child, and what it wrote to its log."""
    scratch = source.with_name(f"{source.name}-scratch")
    scratch.mkdir()
    job = Job(str(source), str(scratch), "t" * 64, "s" * 64, 256, 2**31, "8.18.3", **options)
    command = (sys.executable, "-I", "-c", EVERY_PAGE_IS_LARGE)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(scratch, 1),
        cwd=scratch,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(JOBS.encode(job))
        child.stdin.flush()
        lines, said = child.stdout.readlines(), child.stderr.read().decode()
        child.wait(PATIENCE)
    return (REPORTS.decode(lines[-1]) if lines else None), said


def test_large_files_of_every_kind_and_option_load_nothing_late(tmp_path: Path) -> None:
    # Given a file of every kind, with the options in turn, and TIFFs of 16 bits with each of them
    jobs: list[tuple[str, Path, dict[str, Any]]] = []
    for number, (case, options) in enumerate(zip(CASES, cycle(OPTIONS), strict=False)):
        path = tmp_path / f"{number}.{case.ending}"
        case.make(path, 150, 101)
        jobs.append((case.name, path, options))
    ramp = pictures.scene(150, 101).astype("u2") * 3
    for number, options in enumerate(OPTIONS):
        for name, layout in LAYOUTS.items():
            path = tiffs.write(tmp_path / f"{name}-{number}.tif", ramp, **layout)
            jobs.append((name, path, options))
            cut = tmp_path / f"{name}-{number}-cut.tif"
            cut.write_bytes(path.read_bytes()[:-20_000])
            jobs.append((f"cut {name}", cut, options | {"accept_damage": True}))
    # When the child takes them as large ones
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda job: built(job[1], **job[2]), jobs))
    # Then each is built
    failed = [(job[0], job[2], *end) for job, end in zip(jobs, ends, strict=True) if not isinstance(end[0], Built)]
    assert failed == []
