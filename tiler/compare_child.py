"""The process that decodes a stored source and compares a pyramid with it: `python -I -m tiler.compare_child`.

It is confined as the tiler's child is; pipeline.child says how it talks with its parent, tiler.compare_job what they
say.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from pipeline import admission, child, libvips, sandbox
from pipeline.errors import StageError
from pipeline.pyramid import Format
from tiler.compare_job import JOBS, REPORTS, Compared, Differs, Job, Progress
from tiler.estimate import HEADER_SECONDS, work_seconds
from tiler.job import Failed

ENCODED_AGAIN = 2
"""Times the work of a tiling at most: tiles are encoded, and both are decoded."""

REPORT_INTERVAL = 0.1
"""Seconds between reports of progress."""

MOST_CPU = 10**7
"""Seconds of work in the end."""


def main() -> None:
    """Do one job and end the process: 0 where the outcome was reported, whatever it is."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Compared | Failed:
    # All that is needed is loaded before the process is confined, and only once there is a job.
    import pyvips  # noqa: PLC0415

    from tiler.comparison import compare  # noqa: PLC0415
    from tiler.failures import explain  # noqa: PLC0415
    from tiler.meter import Meter  # noqa: PLC0415
    from tiler.pixels import open_picture  # noqa: PLC0415
    from tiler.source import Source  # noqa: PLC0415

    source = Source(Path(job.source), job.page)
    source.prepare()
    libvips.require(pyvips, job.min_libvips)
    pyvips.cache_set_max(0)
    libvips.block_loaders(pyvips, job.untrusted)
    sandbox.confine(_allowance(job))
    child.watch_life_line()

    told = _Told()

    def look() -> Compared:
        picture = open_picture(source, meter=Meter(lambda *_: None), tile_format=Format(job.tile_format))
        return compare(picture, job, told)

    try:
        header = source.header()
        limits = admission.Limits(job.max_pixels, job.pixels_per_byte, job.memory_bytes)
        admission.admit(header, source.memory(job.tile_size), source.path.stat().st_size, limits)
        sandbox.allow_cpu(ENCODED_AGAIN * work_seconds(header))
        source.require_few_scans()
        try:
            return look()
        except pyvips.Error as error:
            if not source.overlook(error):
                raise
        return look()
    except StageError as error:
        return Failed(error.code, error.message)
    except (pyvips.Error, UnicodeDecodeError, OSError, MemoryError) as error:
        failure = explain(source.cause(error), source.path, source.page)
        with suppress(OSError):
            sys.stderr.write(f"{failure.code}: {error}\n")
        return Failed(failure.code, failure.message)


class _Told:
    """Says what is found, and how far it is at most once in REPORT_INTERVAL."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, report: Progress | Differs) -> None:
        now = time.monotonic()
        if isinstance(report, Differs) or now >= self._due:
            self._due = now + REPORT_INTERVAL
            child.say(REPORTS.encode(report))


def _allowance(job: Job) -> sandbox.Allowance:
    source = Path(job.source)
    memory = None
    if job.memory_bytes is not None and source.exists():
        memory = libvips.address_space(job.memory_bytes, source.stat().st_size)
    return sandbox.Allowance(
        read=(source, Path(job.build)), write=(Path(job.scratch),), memory=memory, cpu=HEADER_SECONDS, most_cpu=MOST_CPU
    )


if __name__ == "__main__":
    main()
