"""The progress of a run that builds several pages, and which lists of pages of a child are believed."""

from __future__ import annotations

import pytest

from pipeline.run import Run
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler import child_checks
from tiler.job import Job, Opened, Progress
from tiler.share import Share


def progress(run: Run) -> tuple[object, ...]:
    found = run._beat.progress
    return found.tiles_done, found.tiles_total, found.stage_percent


def test_progress_of_a_page_is_a_share_of_all_pages() -> None:
    # Given three pages, the second of which is the largest
    run, share = Run("a" * 32, pb.WakeUp(), pb.Grant()), Share()
    share.open((0, 2, 5))
    share.report(run, Progress(5, 10, 50.0))
    assert progress(run) == (5, 30, pytest.approx(100 / 6))
    assert share.named("It is damaged.") == "Page 0 (1 of 3): It is damaged."
    # When the next one is at work, then what is done never becomes less
    assert share.next(10)
    share.open((9,))
    share.report(run, Progress(0, 40, 0.0))
    assert progress(run) == (10, 90, pytest.approx(100 / 3))
    assert share.next(40)
    share.report(run, Progress(20, 20, 100.0))
    assert progress(run) == (70, 70, 100.0)
    assert share.page == 5
    assert not share.next(20)


def test_progress_of_a_single_job_is_that_of_the_run() -> None:
    run, share = Run("a" * 32, pb.WakeUp(), pb.Grant()), Share()
    share.open(())
    share.report(run, Progress(5, 10, 50.0))
    assert progress(run) == (5, 10, 50.0)
    assert share.named("It is damaged.") == "It is damaged."


@pytest.mark.parametrize(
    ("most", "shown"),
    [(None, (0,)), (2, (0, 1, 2)), (2, (1, 0)), (2, (1, 1)), (2, (-1, 0)), (2, (0, 2**40))],
)
def test_pages_that_a_sound_child_never_reports_are_refused(most: int | None, shown: tuple[int, ...]) -> None:
    job = Job("a", "b", "c", "d", 256, 1000, "8.18.3", most_pages=most)
    child_checks.require_plausible(Opened("tiff", 10, 10, 3, (0, 2) if most else ()), job)
    with pytest.raises(ValueError, match=r".+"):
        child_checks.require_plausible(Opened("tiff", 10, 10, 3, shown), job)
