"""The life cycle's table, held against a second one written out by hand."""

from __future__ import annotations

import itertools

import pytest

from pipeline.errors import Conflict
from statussvc.lifecycle import FINAL, WAITING, WORKING, Event, State, move, stage_of

ALLOWED = """
QUEUED       BEGIN              DOWNLOADING
QUEUED       SHARED             DOWNLOADED
QUEUED       FOUND              READY
QUEUED       FAIL               FAILED
QUEUED       CANCEL             CANCELLED
DOWNLOADING  DONE               DOWNLOADED
DOWNLOADING  FOUND              READY
DOWNLOADING  GIVEN_BACK         QUEUED
DOWNLOADING  FAIL               FAILED
DOWNLOADING  CANCEL             CANCELLED
DOWNLOADED   BEGIN              TILING
DOWNLOADED   FOUND              READY
DOWNLOADED   FAIL               FAILED
DOWNLOADED   CANCEL             CANCELLED
TILING       DONE               READY
TILING       GIVEN_BACK         DOWNLOADED
TILING       SOURCE_LOST        QUEUED
TILING       FAIL               FAILED
TILING       CANCEL             CANCELLED
FAILED       RETRY_WITH_SOURCE  DOWNLOADED
FAILED       RETRY_FROM_START   QUEUED
CANCELLED    RETRY_WITH_SOURCE  DOWNLOADED
CANCELLED    RETRY_FROM_START   QUEUED
READY        REBUILD_WITH_SOURCE  DOWNLOADED
READY        REBUILD_FROM_START   QUEUED
QUEUED       REFRESHED          READY
DOWNLOADING  REFRESHED          READY
DOWNLOADED   REFRESHED          READY
TILING       REFRESHED          READY
READY        REFRESHED          READY
FAILED       REFRESHED          READY
REQUESTED    BEGIN              INSPECTING
REQUESTED    FAIL               FAILED
REQUESTED    CANCEL             CANCELLED
INSPECTING   DONE               READY
INSPECTING   GIVEN_BACK         REQUESTED
INSPECTING   FAIL               FAILED
INSPECTING   CANCEL             CANCELLED
"""
MOVES = {(a, e): b for a, e, b in (line.split() for line in ALLOWED.strip().splitlines())}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_of_state_and_event_moves_as_written_or_is_refused(state: State, event: Event) -> None:
    expected = MOVES.get((state, event))
    if expected:
        assert move(state, event) == expected
    else:
        with pytest.raises(Conflict, match=state.lower()):
            move(state, event)


def test_each_state_waits_or_works_or_is_final() -> None:
    for state in State:
        assert [state in WAITING, state in WORKING, state in FINAL].count(True) == 1
        assert (stage_of(state) is None) == (state in FINAL)


def test_ready_is_left_only_where_the_pyramid_is_lost() -> None:
    assert {event for (state, event), after in MOVES.items() if state == "READY" != after} == {
        "REBUILD_WITH_SOURCE",
        "REBUILD_FROM_START",
    }
