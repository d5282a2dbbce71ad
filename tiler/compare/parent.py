"""Start a child process that compares a pyramid with its source, and collect its results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StageError
from pipeline.sandbox import parent
from tiler.compare.protocol import JOBS, MOST_DIFFERING, REPORTS, Compared, Differs, Job, Progress
from tiler.job import Failed
from tiler.parent import environment

COMMAND = parent.command("tiler.compare.child")


def compare(job: Job, *, moved: Callable[[int, int], None]) -> tuple[Compared, list[Differs]]:
    """Compare a pyramid with its source.

    Parameters
    ----------
    moved: called with the rows of tiles decoded so far, and the number of rows.

    Returns
    -------
    The counts, and the first MOST_DIFFERING tiles that differ.

    Raises
    ------
    StageError: if the source cannot be decoded, or the child process died.
    ValueError: if the child sends an invalid message.
    """
    scratch = Path(job.scratch)
    found: list[Differs] = []
    outcome: Compared | Failed | None = None
    with parent.Child(COMMAND, JOBS.encode(job), folder=scratch, environment=environment(scratch, 0)) as child:
        for line in child.lines():
            match REPORTS.decode(line):
                case Progress(done, total):
                    moved(done, total)
                case Differs() as differs if len(found) < MOST_DIFFERING:
                    found.append(differs)
                case Compared() | Failed() as ended:
                    outcome = ended
    if isinstance(outcome, Compared):
        return outcome, found
    if isinstance(outcome, Failed):
        raise StageError(outcome.code, outcome.message)
    raise child.death()
