"""Leases: what counts as a beat, as watched time, and as progress."""

from __future__ import annotations

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.rows import Counts, RunRow
from statussvc.enums import StopReason
from statussvc.leases import Leases
from statussvc.lifecycle import Stage


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Leases, Clock]:
    clock = Clock()
    leases = Leases(10.0, clock)
    leases.grant("run", "custom_00000001", Stage.INGEST)
    return leases, clock


def watch(leases: Leases, clock: Clock, seconds: int) -> list[str]:
    dead = []
    for _ in range(seconds):
        clock.now += 1.0
        dead += [lease.run_id for lease in leases.tick(longest=2.0)]
    return dead


def test_a_run_whose_beat_stands_still_for_the_lease_is_dead() -> None:
    leases, clock = make()
    assert watch(leases, clock, 10) == []
    assert watch(leases, clock, 1) == ["run"]


def test_a_beat_that_rises_renews_the_lease_and_one_that_repeats_does_not() -> None:
    leases, clock = make()
    leases.beat("run", 1, pb.Progress())
    watch(leases, clock, 9)
    leases.beat("run", 2, pb.Progress())
    assert watch(leases, clock, 10) == []
    leases.beat("run", 2, pb.Progress())
    assert watch(leases, clock, 1) == ["run"]


def test_a_frozen_service_counts_only_what_it_watched() -> None:
    # Given a service that was stopped for an hour
    leases, clock = make()
    clock.now += 3600.0
    # When it ticks again, Then the run has lost two seconds of its lease, not the hour
    assert leases.tick(longest=2.0) == []
    assert watch(leases, clock, 8) == []
    assert watch(leases, clock, 1) == ["run"]


def test_percent_never_goes_back_within_a_run() -> None:
    leases, _ = make()
    leases.beat("run", 1, pb.Progress(stage_percent=40.0))
    leases.beat("run", 2, pb.Progress(stage_percent=30.0))
    lease = leases.get("run")
    assert lease is not None
    assert lease.percent() == 20.0


def test_an_unknown_run_is_told_to_stop_and_a_stopped_one_why() -> None:
    leases, clock = make()
    assert leases.beat("other", 1, pb.Progress()) == ("superseded", False)
    leases.stop("run", StopReason.CANCELLED)
    assert leases.beat("run", 1, pb.Progress()) == ("cancelled", False)
    assert leases.get("run") is None
    # Forgotten in the end, so that memory does not grow, and never counted as dead
    assert watch(leases, clock, 70) == []
    assert leases.beat("run", 2, pb.Progress()) == ("superseded", False)


def test_eta_follows_the_pace_so_far() -> None:
    leases, clock = make()
    clock.now += 10.0
    leases.beat("run", 1, pb.Progress(stage_percent=25.0))
    lease = leases.get("run")
    assert lease is not None
    assert lease.eta == 30.0


def test_what_an_earlier_run_had_brought_tells_nothing_of_the_pace() -> None:
    # Given a download of 1,000 bytes, of which an earlier run had brought 500, and this one 100 in ten seconds
    leases, clock = make()
    clock.now += 5.0
    leases.beat("run", 1, pb.Progress(bytes_downloaded=500, bytes_kept=500, bytes_total=1000, stage_percent=50.0))
    clock.now += 5.0
    leases.beat("run", 2, pb.Progress(bytes_downloaded=600, bytes_kept=500, bytes_total=1000, stage_percent=60.0))
    # Then the rest takes four times as long
    lease = leases.get("run")
    assert lease is not None
    assert lease.eta == pytest.approx(40.0)
    assert lease.pace.per_second == pytest.approx(20.0)


def test_after_a_restart_what_was_kept_before_is_no_pace_either() -> None:
    # Given a run that is found at work, of whose 600 bytes an earlier one had brought 500
    leases, clock = make()
    row = RunRow(
        run_id="found",
        dataset_id="custom_00000001",
        attempt=1,
        stage=Stage.INGEST,
        worker="test",
        begun_at=0.0,
        published_at=None,
        ended_at=None,
        outcome=None,
        answer=None,
        next_attempt=None,
        bytes_downloaded=600,
        bytes_total=1000,
        tiles_done=0,
        tiles_total=None,
        stage_percent=60.0,
        host_hash=None,
    )
    assert leases.adopt(row)
    # When it brings another 100 in ten seconds
    clock.now += 10.0
    leases.beat("found", 9, pb.Progress(bytes_downloaded=700, bytes_kept=500, bytes_total=1000, stage_percent=70.0))
    # Then the rest takes three times as long
    lease = leases.get("found")
    assert lease is not None
    assert lease.eta == pytest.approx(30.0)


def test_only_changed_counts_are_flushed_and_only_once() -> None:
    leases, _ = make()
    leases.beat("run", 1, pb.Progress(bytes_downloaded=5, bytes_total=10, stage_percent=50.0))
    assert leases.unflushed() == {
        "run": Counts(bytes_downloaded=5, bytes_total=10, tiles_done=0, tiles_total=None, stage_percent=50.0)
    }
    leases.beat("run", 2, pb.Progress(bytes_downloaded=5, bytes_total=10, stage_percent=50.0))
    assert leases.unflushed() == {}


def test_time_in_which_no_beat_could_be_heard_counts_for_nobody() -> None:
    # Given a run that has been silent for nine of its ten seconds
    leases, clock = make()
    assert watch(leases, clock, 9) == []
    # When the service finds out, over and over, that it hears nobody, Then the run lives
    for _ in range(100):
        clock.now += 1.0
        leases.ignore_silence()
    assert watch(leases, clock, 1) == []
    # And is dead after the last second that it was given
    assert watch(leases, clock, 1) == ["run"]
