"""Has a child decode and tile: progress through, stops through, its end explained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StageError
from pipeline.formats import libvips
from pipeline.run import Run
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler import trust
from tiler.job import JOBS, REPORTS, Built, Failed, Job, Opened, Previewed, Progress, Report

COMMAND = parent.command("tiler.child")

logger = logging.getLogger(__name__)


def build(
    run: Run,
    job: Job,
    *,
    threads: int,
    command: tuple[str, ...] = COMMAND,
    check_room: Callable[[], None] = lambda: None,
    keep_preview: Callable[[Previewed], None] = lambda _: None,
) -> Built:
    """Have a child do a job; returns when it has ended, however it did.

    Parameters
    ----------
    run: is told of progress; its stop kills the child, and its limits end one that hangs.
    threads: of libvips; 0 for one a core.
    command: what to start.
    check_room: called all the while; what it raises ends the child, and is raised.
    keep_preview: called when a preview lies in the job's scratch.

    Raises
    ------
    Stopped: where the run was told to stop.
    StageError: where the picture cannot be tiled; by the signal that ended the child where it gave no outcome.
    RuntimeError: where the child ended by itself and without an outcome.
    ValueError: where it says or leaves what it may not: see tiler.trust.
    """
    outcome: Report | None = None
    scratch = Path(job.scratch)

    def watch() -> None:
        # A child that was taken over need not say anything while it fills the disk.
        trust.require_few_files(scratch)
        check_room()

    made = environment(scratch, threads)
    with parent.Child(command, JOBS.encode(job), folder=scratch, environment=made, watch=watch) as child:
        logger.info("%s: child %d started", run.wake_up.dataset_id, child.pid)
        run.on_stop(child.kill)
        run.watch_work(child.worked)
        for line in child.lines():
            report = outcome = REPORTS.decode(line)
            trust.require_plausible(report, job)
            match report:
                case Opened():
                    run.report(source=pb.SourceInfo(**report._asdict()))
                case Previewed():
                    trust.require_preview(scratch)
                    keep_preview(report)
                case Progress():
                    run.report(
                        tiles_done=report.tiles_done,
                        tiles_total=report.tiles_total or None,
                        stage_percent=report.percent,
                    )
    run.check()
    if isinstance(outcome, Built) and child.exit_code == 0:
        trust.require_sound(scratch, outcome, job.tile_size)
        return outcome
    logger.warning("%s: child ended with %d: %s", run.wake_up.dataset_id, child.exit_code, child.last_words)
    if isinstance(outcome, Failed):
        raise StageError(outcome.code, outcome.message)
    raise child.death()


def environment(scratch: Path, threads: int) -> dict[str, str]:
    """Give the whole environment of the tiler's child. libvips spills large decodes below TMPDIR, the scratch."""
    return sandbox.environment(scratch, libvips.environment(threads))
