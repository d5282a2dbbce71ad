"""The process that decodes and tiles one picture: `python -I -m tiler.child`.

It is given one Job, gives reports and ends: pipeline.sandbox.child says how the two talk, tiler.job what they say.
"""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.formats import admission
from pipeline.pyramids import Format, Geometry
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from tiler.build.estimate import largest_file, require_room
from tiler.job import JOBS, REPORTS, Built, Failed, Job, Opened, Previewed, Progress

REPORT_INTERVAL = 0.1
"""Seconds between reports of progress; a beat carries the last one every 0.5 s."""


def main() -> None:
    """Do one job and end the process: 0 where the outcome was reported, whatever it is."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Built | Failed:
    # All that is needed is loaded before the process is confined, and only once there is a job.
    from tiler import confined  # noqa: PLC0415
    from tiler.build.preview import make_preview  # noqa: PLC0415
    from tiler.build.pyramid import build  # noqa: PLC0415
    from tiler.decode import open_picture, reader_of  # noqa: PLC0415
    from tiler.meter import Meter  # noqa: PLC0415

    reader = reader_of(Path(job.source), job.page)
    reporter = _Reporter()
    meter = Meter(reporter.report)
    # Once the header is read, how much work and how large a file it may take is known better.
    allowance = sandbox.Allowance(
        read=(reader.path,),
        write=(Path(job.scratch),),
        memory=confined.memory(reader, job.memory_bytes),
        cpu=None if job.work_seconds is None else min(confined.header_seconds(reader), job.work_seconds),
        most_cpu=job.work_seconds,
        file=job.room,
    )
    confined.confine(reader, job.min_libvips, job.untrusted, allowance)

    def begin() -> None:
        header = reader.header()
        child.say(REPORTS.encode(Opened(*header)))
        limits = admission.Limits(job.max_pixels, job.pixels_per_byte, job.memory_bytes)
        confined.admit(reader, header, job.tile_size, job.tile_format, limits)
        sandbox.limit_file(largest_file(header, job.tile_size))
        if job.preview and (size := make_preview(reader, header, Path(job.scratch), meter)):
            child.say(REPORTS.encode(Previewed(*size)))

    def tile() -> Built:
        wanted = Format(job.tile_format) if job.tile_format else None
        picture = open_picture(reader, meter=meter, tile_format=wanted)
        geometry = Geometry(picture.image.width, picture.image.height, job.tile_size)
        reporter.tiles_total = geometry.tile_count
        require_room(job, geometry, picture.format)
        return build(picture, job, meter)

    return confined.decode(reader, begin, tile)


class _Reporter:
    """Turns a meter's movements into reports, at most one in REPORT_INTERVAL."""

    def __init__(self) -> None:
        self.tiles_total = 0
        self._tiles_done = 0
        self._due = 0.0

    def report(self, percent: float, fraction: float) -> None:
        self._tiles_done = max(self._tiles_done, int(fraction * self.tiles_total))
        now = time.monotonic()
        if now >= self._due:
            self._due = now + REPORT_INTERVAL
            child.say(REPORTS.encode(Progress(self._tiles_done, self.tiles_total, round(percent, 2))))


if __name__ == "__main__":
    main()
