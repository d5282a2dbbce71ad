"""The process that decodes and tiles one picture: `python -I -m tiler.child`.

It reads one Job from standard input, writes reports to standard output and ends. Standard input is its
life line: when it ends, the parent is gone, and so is the child.

Imports the standard library, libvips and pure modules only, and libvips after the process is confined:
from its start to its first tile takes some 60 ms.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from pipeline import faults
from pipeline.errors import StageError
from pipeline.pyramid import Geometry
from tiler import sandbox
from tiler.estimate import require_room
from tiler.job import Built, Failed, Job, Progress, Report, decode_job, encode_report

REPORT_INTERVAL = 0.1
"""Seconds between reports of progress; a beat carries the last one every 0.5 s."""

STDIN, STDOUT = 0, 1


def main() -> None:
    """Do one job and end the process: 0 where the outcome was reported, whatever it is."""
    job = decode_job(_first_line())
    threading.Thread(target=_watch_life_line, name="life-line", daemon=True).start()
    sandbox.confine_process()
    _say(_outcome(job))
    sys.stderr.flush()
    # Nothing is left to be done, and libvips' own threads make an orderly end slow and, at times, unsafe.
    os._exit(0)


def _outcome(job: Job) -> Built | Failed:
    import pyvips  # noqa: PLC0415  (only after the process is confined)

    from tiler.build import build  # noqa: PLC0415
    from tiler.failures import explain  # noqa: PLC0415
    from tiler.meter import Meter  # noqa: PLC0415
    from tiler.pixels import open_picture  # noqa: PLC0415

    source = Path(job.source)
    reporter = _Reporter()
    meter = Meter(reporter.report)
    try:
        sandbox.confine_libvips(pyvips, job.min_libvips)
        picture = open_picture(source, max_pixels=job.max_pixels, meter=meter)
        geometry = Geometry(picture.image.width, picture.image.height, job.tile_size)
        reporter.tiles_total = geometry.tile_count
        require_room(job, geometry, picture.format)
        return build(picture, job, meter)
    except StageError as error:
        return Failed(error.code, error.message)
    except (pyvips.Error, OSError, MemoryError) as error:
        failure = explain(error, source)
        sys.stderr.write(f"{failure.code}: {error}\n")
        return Failed(failure.code, failure.message)


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
            faults.reach("tiler_child_mid_build")
            _say(Progress(self._tiles_done, self.tiles_total, round(percent, 2)))


def _first_line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(STDIN, 65536)
        if not piece:
            os._exit(1)
        line += piece
    return bytes(line)


def _watch_life_line() -> None:
    while os.read(STDIN, 1):
        pass
    os._exit(1)


def _say(report: Report) -> None:
    line = encode_report(report)
    while line:
        line = line[os.write(STDOUT, line) :]


if __name__ == "__main__":
    main()
