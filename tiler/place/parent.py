"""Start the child process that converts coordinates by PROJ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import StageError
from pipeline.georeference import Georeference, Located, Pair, coordinates, located, located_by_formula
from pipeline.sandbox import confine as sandbox
from pipeline.sandbox import parent
from tiler.place.protocol import JOBS, REPORTS, Converted, Job, Report, Unknown

COMMAND = parent.command("tiler.place.child")

SECONDS = 60.0
"""Most seconds for a conversion, which takes half a second: PROJ is loaded from a slow disk at worst."""

logger = logging.getLogger(__name__)


def locate(
    found: Georeference,
    width: int,
    height: int,
    scratch: Path,
    *,
    on_start: Callable[[parent.Child], None] = lambda _: None,
    command: tuple[str, ...] = COMMAND,
) -> Located | None:
    """Return where an image lies in WGS 84; None if that is unknown. Fails nothing.

    Parameters
    ----------
    width, height: of the image that `found` is about, in pixels.
    scratch: existing folder for the child's temporary files.
    on_start: called with the child, so that another thread can kill it.
    """
    if not found.crs:
        return None
    by_formula = located_by_formula(found, width, height)
    if by_formula is not None:
        return by_formula
    degrees = _converted(found.crs, coordinates(found, width, height), scratch, on_start, command)
    return located(found, width, height, degrees) if degrees else None


def _converted(
    crs: str,
    pairs: Sequence[Pair],
    scratch: Path,
    on_start: Callable[[parent.Child], None],
    command: tuple[str, ...],
) -> list[Pair] | None:
    job = JOBS.encode(Job(crs, tuple(number for pair in pairs for number in pair)))
    more = {"PROJ_NETWORK": "OFF", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    outcome: Report | None = None
    try:
        environment = sandbox.environment(scratch, more)
        with parent.Child(command, job, folder=scratch, environment=environment, total=SECONDS) as child:
            on_start(child)
            for line in child.lines():
                outcome = REPORTS.decode(line)
    except (StageError, ValueError, OSError) as error:
        logger.warning("the coordinates of an image are not converted: %s", error)
        return None
    if isinstance(outcome, Converted) and len(outcome.degrees) == 2 * len(pairs):
        return list(zip(outcome.degrees[::2], outcome.degrees[1::2], strict=True))
    reason = outcome.reason if isinstance(outcome, Unknown) else f"its child ended with {child.exit_code}"
    logger.info("the coordinates of an image are not converted: %s", reason[:200])
    return None
