"""The process that decodes and tiles one image: `python -I -m tiler.child`.

It reads one Job, writes reports and ends. tiler.job defines the messages; pipeline.sandbox.child sends them.
"""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats import admission
from pipeline.formats.side_files import SideFiles
from pipeline.pyramids import Format, Geometry
from pipeline.sandbox import child
from pipeline.sandbox import confine as sandbox
from pipeline.stretch import parse as parse_stretch
from tiler.estimate import largest_file, require_room
from tiler.job import JOBS, REPORTS, Built, Failed, Job, Opened, Previewed, Progress

REPORT_INTERVAL = 0.1
"""Seconds between reports of progress. A heartbeat sends the latest one to statussvc every 0.5 s."""


def main() -> None:
    """Do one job and end the process. The exit code is 0 if an outcome was reported, even a failure."""
    job = JOBS.decode(child.first_line())
    child.say(REPORTS.encode(_outcome(job)))
    child.end()


def _outcome(job: Job) -> Built | Failed:
    # Load what is needed when there is a job, and before the process is confined.
    from tiler import confined_decoding as confined  # noqa: PLC0415
    from tiler.build import build, make_preview  # noqa: PLC0415
    from tiler.decode import open_picture, reader_of  # noqa: PLC0415
    from tiler.progress import Meter  # noqa: PLC0415

    reader = reader_of(Path(job.source), job.page, channels=job.channels)
    stretch = parse_stretch(job.stretch)
    reporter = _Reporter()
    meter = Meter(reporter.report)
    # Once the header is read, `begin` sets tighter limits for CPU time and the size of files.
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
        pages = reader.take_all() if job.most_pages is not None else ()
        header = reader.header()
        child.say(REPORTS.encode(Opened(*header, shown=pages[: job.most_pages])))
        if job.most_pages is not None and len(pages) > job.most_pages:
            raise StageError(
                "too_many_pages",
                f"The file has {len(pages):,} pages. This installation shows {job.most_pages:,} of one file at most "
                "(TILEWRIGHT_MAX_PAGES).",
            )
        limits = admission.Limits(job.max_pixels, job.pixels_per_byte, job.memory_bytes)
        confined.admit(reader, header, job.tile_size, job.tile_format, limits, stored=job.archive_bytes)
        sandbox.limit_file(largest_file(header, job.tile_size))
        if (
            job.preview
            and reader.missing is None
            and (size := make_preview(reader, header, Path(job.scratch), meter, stretch))
        ):
            child.say(REPORTS.encode(Previewed(*size)))

    def tile() -> Built:
        wanted = Format(job.tile_format) if job.tile_format else None
        beside = SideFiles(job.world, job.projection, job.auxiliary)
        picture = open_picture(reader, meter=meter, tile_format=wanted, stretch=stretch, beside=beside)
        geometry = Geometry(picture.image.width, picture.image.height, job.tile_size)
        reporter.tiles_total = geometry.tile_count
        require_room(job, geometry, picture.format)
        return build(picture, job, meter)

    return confined.decode(reader, begin, tile, accept_damage=job.accept_damage)


class _Reporter:
    """Reports a meter's progress to the parent, at most once in REPORT_INTERVAL."""

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
