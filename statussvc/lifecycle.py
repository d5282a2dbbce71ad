"""The life cycle of a dataset, and of an inspection: a table of the allowed moves. Pure.

A dataset:      QUEUED → DOWNLOADING → DOWNLOADED → TILING → READY
                and back from READY only if its pyramid's files are lost
A refresh:      as a dataset, beside the one that it is for
An inspection:  REQUESTED → INSPECTING → READY
"""

from __future__ import annotations

from enum import StrEnum

from pipeline.errors import Conflict


class State(StrEnum):
    """Where a dataset is in its life cycle. The values are the names in status.proto without their prefix."""

    QUEUED = "QUEUED"
    DOWNLOADING = "DOWNLOADING"
    DOWNLOADED = "DOWNLOADED"
    TILING = "TILING"
    READY = "READY"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REQUESTED = "REQUESTED"
    INSPECTING = "INSPECTING"


class Stage(StrEnum):
    """The work that one run does."""

    INGEST = "INGEST"
    TILER = "TILER"
    INSPECT = "INSPECT"


class Event(StrEnum):
    """What can happen to a dataset."""

    BEGIN = "BEGIN"
    """A run was granted the waiting stage."""
    DONE = "DONE"
    """The run at work completed its stage."""
    FOUND = "FOUND"
    """A pyramid of the same bytes and options is already built."""
    SHARED = "SHARED"
    """Another dataset has downloaded the same URL, and this one uses that file."""
    GIVEN_BACK = "GIVEN_BACK"
    """The run at work died, gave its stage back, or failed in a way that a retry may solve."""
    SOURCE_LOST = "SOURCE_LOST"
    """The tiler did not find the stored source."""
    FAIL = "FAIL"
    CANCEL = "CANCEL"
    RETRY_WITH_SOURCE = "RETRY_WITH_SOURCE"
    RETRY_FROM_START = "RETRY_FROM_START"
    REBUILD_WITH_SOURCE = "REBUILD_WITH_SOURCE"
    """The files of its pyramid are lost; its source is still stored."""
    REBUILD_FROM_START = "REBUILD_FROM_START"
    """The files of its pyramid are lost, and so is its source."""
    REFRESHED = "REFRESHED"
    """A refresh has made another pyramid for it."""


WAITING = {State.QUEUED: Stage.INGEST, State.DOWNLOADED: Stage.TILER, State.REQUESTED: Stage.INSPECT}
"""The states that wait for a worker, each with the stage that it waits for."""

WORKING = {State.DOWNLOADING: Stage.INGEST, State.TILING: Stage.TILER, State.INSPECTING: Stage.INSPECT}
"""The states in which a run is at work, each with the stage that it works at."""

FINAL = frozenset({State.READY, State.FAILED, State.CANCELLED})

MOVES: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.BEGIN): State.DOWNLOADING,
    (State.QUEUED, Event.SHARED): State.DOWNLOADED,
    (State.QUEUED, Event.FOUND): State.READY,
    (State.DOWNLOADING, Event.DONE): State.DOWNLOADED,
    (State.DOWNLOADING, Event.FOUND): State.READY,
    (State.DOWNLOADING, Event.GIVEN_BACK): State.QUEUED,
    (State.DOWNLOADED, Event.BEGIN): State.TILING,
    (State.DOWNLOADED, Event.FOUND): State.READY,
    (State.TILING, Event.DONE): State.READY,
    (State.TILING, Event.GIVEN_BACK): State.DOWNLOADED,
    (State.TILING, Event.SOURCE_LOST): State.QUEUED,
    (State.REQUESTED, Event.BEGIN): State.INSPECTING,
    (State.INSPECTING, Event.DONE): State.READY,
    (State.INSPECTING, Event.GIVEN_BACK): State.REQUESTED,
    (State.FAILED, Event.RETRY_WITH_SOURCE): State.DOWNLOADED,
    (State.FAILED, Event.RETRY_FROM_START): State.QUEUED,
    (State.CANCELLED, Event.RETRY_WITH_SOURCE): State.DOWNLOADED,
    (State.CANCELLED, Event.RETRY_FROM_START): State.QUEUED,
    (State.READY, Event.REBUILD_WITH_SOURCE): State.DOWNLOADED,
    (State.READY, Event.REBUILD_FROM_START): State.QUEUED,
    **{
        (state, Event.REFRESHED): State.READY
        for state in State
        if state not in (State.CANCELLED, State.REQUESTED, State.INSPECTING)
    },
    **{(state, Event.FAIL): State.FAILED for state in State if state not in FINAL},
    **{(state, Event.CANCEL): State.CANCELLED for state in State if state not in FINAL},
}


def move(state: State, event: Event) -> State:
    """The state after an event. Raises Conflict, which names the present state, where that allows no such event."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise Conflict(f"The dataset is {state.lower()}, which does not allow this.") from None


def stage_of(state: State) -> Stage | None:
    """The stage that a row waits for or works at; None in a final state."""
    return WAITING.get(state) or WORKING.get(state)
