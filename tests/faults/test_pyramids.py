"""Datasets of the same bytes: builds that race, and deletions under those that are being finished."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.conftest import NewPicture
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants, keys, sweep
from tests.support.network.answers import whole
from tests.support.network.sources import SourceServer
from tests.support.rigs.waiting import until


@pytest.fixture
def patient_farm(farm: Farm) -> Farm:
    """A farm whose runs may freeze for a while and keep their lease."""
    farm.statussvc.restart(TILEWRIGHT_LEASE_SECONDS="60")
    farm.await_ready()
    return farm


def race(farm: Farm, url: str) -> tuple[str, str]:
    """Submits, freezes the tiler before it tells that the build is done, and has another build the same meanwhile.

    Gives the ids, that of the frozen one first.
    """
    mark = farm.tiler.arm("tiler_before_complete", "SIGSTOP")
    slow = farm.submit(url)
    until(mark.exists, "a frozen tiler")
    farm.add_worker("tiler-2", "tiler").start()
    quick = farm.submit(url)
    farm.finish(quick)
    return slow, quick


def builds(farm: Farm, tile_id: str) -> set[str]:
    return {Path(key).parts[2] for key in keys(farm, f"pyramids/{tile_id}")}


def test_of_two_builds_that_race_one_counts_and_the_other_is_swept(
    patient_farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data = patient_farm, picture()
    # Given a build that is done and not told, and another of the same bytes that is told first
    slow, quick = race(farm, sources.on("/race.jpg", whole(data)))
    tile_id = farm.row(quick)["tile_id"]
    assert len(builds(farm, tile_id)) == 2
    # When the first is told, too
    farm.tiler.signal(signal.SIGCONT)
    farm.finish(slow)
    # Then it is ready by the other's build
    until(lambda: "the result was ANSWER_LOST" in farm.tiler.log.read_text(), "a lost race")
    check_invariants(farm, {slow: Expected(data), quick: Expected(data)})
    assert len(builds(farm, tile_id)) == 1


def test_a_pyramid_is_kept_when_it_is_deleted_under_another_that_is_being_finished(
    patient_farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data = patient_farm, picture()
    # Given a dataset that is ready, and one of the same bytes whose build is not told yet
    slow, quick = race(farm, sources.on("/delete-race.jpg", whole(data)))
    # When the ready one is deleted and swept, and the other one told
    assert farm.act("DELETE", quick) == 204
    sweep(farm)
    farm.tiler.signal(signal.SIGCONT)
    farm.finish(slow)
    # Then the other one has the pyramid
    check_invariants(farm, {slow: Expected(data)})


def test_a_pyramid_that_is_deleted_under_a_download_of_the_same_bytes_is_built_anew(
    patient_farm: Farm, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data = patient_farm, picture()
    source = sources.on("/delete-download.jpg", whole(data))
    ready = farm.submit(source)
    farm.finish(ready)
    tile_id = farm.row(ready)["tile_id"]
    before = builds(farm, tile_id)
    # Given a download of the same bytes that is done and not told
    mark = farm.ingest.arm("ingest_before_complete", "SIGSTOP")
    other = farm.submit(source)
    until(mark.exists, "a frozen worker")
    # When the ready one is deleted and swept, and the download told
    assert farm.act("DELETE", ready) == 204
    sweep(farm)
    until(lambda: builds(farm, tile_id) == set(), "a pyramid that is gone")
    farm.ingest.signal(signal.SIGCONT)
    farm.finish(other)
    # Then the pyramid is built anew
    check_invariants(farm, {other: Expected(data)})
    assert builds(farm, tile_id).isdisjoint(before)
