"""Start a child process that decodes and tiles; forward its progress, stop it, and explain how it ended."""

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
from tiler import child_checks
from tiler.job import JOBS, REPORTS, Built, Failed, Job, Opened, Previewed, Progress, Report
from tiler.share import Share

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
    share: Share | None = None,
) -> Built:
    """Let a child process do a job. Returns or raises when the process has ended.

    Parameters
    ----------
    run: receives progress. If the run is stopped, the child is killed; the run's time limits end a child that hangs.
    threads: of libvips; 0 for one a core.
    command: the command to start.
    check_room: called repeatedly. If it raises, the child is ended and the error raised.
    keep_preview: called when a preview lies in the job's scratch folder.
    share: of the run's work that this job is; None for all of it.

    Raises
    ------
    Stopped: if the run was told to stop.
    StageError: if the image cannot be tiled, or a signal ended the child before it reported an outcome.
    RuntimeError: if the child exited without an outcome.
    ValueError: if the child sends invalid reports or leaves invalid files: see tiler.child_checks.
    """
    share = share or Share()
    outcome: Report | None = None
    scratch = Path(job.scratch)

    def watch() -> None:
        # A compromised child may fill the disk without sending a report.
        child_checks.require_few_files(scratch)
        check_room()

    made = environment(scratch, threads)
    with parent.Child(command, JOBS.encode(job), folder=scratch, environment=made, watch=watch) as child:
        logger.info("%s: child %d started", run.wake_up.dataset_id, child.pid)
        run.on_stop(child.kill)
        run.watch_work(child.worked)
        for line in child.lines():
            report = outcome = REPORTS.decode(line)
            child_checks.require_plausible(report, job)
            match report:
                case Opened():
                    share.open(report.shown)
                    # Of joined tiles, ingest has reported what they are: the joined file is of no interest.
                    if job.archive != "tiles" and share.place == 0:
                        run.report(source=pb.SourceInfo(**report.header._asdict()))
                case Previewed():
                    child_checks.require_preview(scratch)
                    keep_preview(report)
                case Progress():
                    share.report(run, report)
    run.check()
    if isinstance(outcome, Built) and child.exit_code == 0:
        child_checks.require_sound(scratch, outcome, job.tile_size)
        return outcome
    logger.warning("%s: child ended with %d: %s", run.wake_up.dataset_id, child.exit_code, child.last_words)
    if isinstance(outcome, Failed):
        raise StageError(outcome.code, outcome.message)
    raise child.death()


def environment(scratch: Path, threads: int) -> dict[str, str]:
    """Return the complete environment of the child. libvips writes temporary files to TMPDIR, the scratch folder."""
    return sandbox.environment(scratch, libvips.environment(threads))
