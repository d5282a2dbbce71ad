"""The process that decodes a stored source and compares a pyramid with it: `python -I -m tiler.compare.child`.

It is confined like the tiler's child. It exchanges the messages of tiler.compare.protocol with its parent by means of
pipeline.sandbox.child.
"""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats import admission
from pipeline.pyramids import Format
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from pipeline.stretch import parse as parse_stretch
from tiler.compare.protocol import JOBS, REPORTS, Compared, Differs, Job, Progress
from tiler.job import Failed

ENCODED_AGAIN = 2
"""Most work of a comparison, in tilings: each tile is encoded, and then both tiles are decoded."""

SALVAGED = 3
"""Most further work for a damaged original, in tilings. Unlike the tiler's, this file was admitted before."""

REPORT_INTERVAL = 0.1
"""Seconds between reports of progress."""

MOST_CPU = 10**7
"""Seconds of work to which the limit may be raised once the header is known."""


def main() -> None:
    """Do one job and end the process. The exit code is 0 if an outcome was reported, even a failure."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Compared | Failed:
    # Load what is needed when there is a job, and before the process is confined.
    from tiler import confined_decoding as confined  # noqa: PLC0415
    from tiler.compare.comparison import compare  # noqa: PLC0415
    from tiler.decode import open_picture, reader_of  # noqa: PLC0415
    from tiler.progress import Meter  # noqa: PLC0415

    reader = reader_of(Path(job.source), job.page, channels=job.channels)
    allowance = sandbox.Allowance(
        read=(reader.path, Path(job.build)),
        write=(Path(job.scratch),),
        memory=confined.memory(reader, job.memory_bytes),
        cpu=confined.header_seconds(reader),
        most_cpu=MOST_CPU,
    )
    confined.confine(reader, job.min_libvips, job.untrusted, allowance)
    told = _Told()

    def begin() -> None:
        header = reader.header()
        limits = admission.Limits(job.max_pixels, job.pixels_per_byte, job.memory_bytes)
        passes = ENCODED_AGAIN + (SALVAGED if job.is_damaged else 0)
        confined.admit(reader, header, job.tile_size, job.tile_format, limits, times=passes, stored=job.archive_bytes)

    def look() -> Compared:
        if job.is_damaged and reader.missing is None:
            # Not first strictly: differences would be reported before the decoder fails.
            raise StageError("image_corrupt", "The original is damaged.")
        picture = open_picture(
            reader,
            meter=Meter(lambda *_: None),
            tile_format=Format(job.tile_format),
            stretch=parse_stretch(job.stretch),
        )
        return compare(picture, job, told)

    return confined.decode(reader, begin, look, accept_damage=job.is_damaged)


class _Told:
    """Reports every difference, and progress at most once in REPORT_INTERVAL."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, report: Progress | Differs) -> None:
        now = time.monotonic()
        if isinstance(report, Differs) or now >= self._due:
            self._due = now + REPORT_INTERVAL
            child.say(REPORTS.encode(report))


if __name__ == "__main__":
    main()
