"""Lock a dataset's row, move it to another state, end its run: what stages and user actions have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, select, update

from pipeline.errors import NotFound
from statussvc.db.repository import changes, handover
from statussvc.db.rows import DatasetRow, RunRow, fetch_one
from statussvc.db.tables import datasets, pyramids, runs
from statussvc.enums import Answer, Kind, Outcome
from statussvc.lifecycle import FINAL, WAITING, WORKING, Event, Stage, State, move

_USABLE = (~pyramids.c.deleting, ~pyramids.c.lost)

Member = TypeVar("Member", State, Stage)

NO_FAILURE: Final[dict[str, object]] = {"error_code": None, "error_message": None, "error_retryable": None}

NO_REWRITTEN: Final[dict[str, None]] = {"rewritten_rule": None, "rewritten_url": None, "rewritten_note": None}


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a worker that reported an outcome.

    Parameters
    ----------
    next_attempt: set where the worker has to publish a wake-up for the tiler.
    """

    answer: Answer
    dataset_id: str = ""
    next_attempt: int | None = None


def first_attempt(state: State, now: float) -> dict[str, object]:
    """Return columns of a new row, which waits for its first attempt in `state`."""
    return {
        "state": state,
        "attempt": 1,
        "crashes": 0,
        "retries": 0,
        "revision": 1,
        "created_at": now,
        "queued_at": now,
    }


def has(column: Column[Member], member: Member) -> ColumnElement[bool]:
    """Whether a column has a value, for queries that should not use the index on that column.

    SQLite has no statistics here, and for `column = value` it may scan all rows with a very common value. With
    `column NOT IN (all other values)` it uses another index.
    """
    return column.not_in([other for other in type(member) if other is not member])


def lock(connection: Connection, dataset_id: str) -> DatasetRow | None:
    """A dataset's or inspection's row, locked against other services until the transaction ends."""
    return fetch_one(
        connection, DatasetRow, select(datasets).where(datasets.c.dataset_id == dataset_id).with_for_update()
    )


def lock_present(connection: Connection, dataset_id: str) -> DatasetRow:
    """As `lock`. Raises NotFound where there is no such dataset, or it was deleted."""
    row = lock(connection, dataset_id)
    if row is None or row.deleted_at is not None or row.kind is not Kind.DATASET:
        raise NotFound(f"There is no dataset {dataset_id}.")
    return row


def run_of(connection: Connection, run_id: str) -> RunRow | None:
    """A run's row."""
    return fetch_one(connection, RunRow, select(runs).where(runs.c.run_id == run_id))


def end(
    connection: Connection,
    run: RunRow,
    outcome: Outcome,
    answer: Answer,
    now: float,
    next_attempt: int | None = None,
) -> Reply:
    """End a run. Its row keeps the outcome, and the answer for a repeated report."""
    connection.execute(
        update(runs)
        .where(runs.c.run_id == run.run_id)
        .values(ended_at=now, outcome=outcome, answer=answer, next_attempt=next_attempt)
    )
    return Reply(answer, run.dataset_id, next_attempt)


def is_built(connection: Connection, tile_id: str | None) -> bool:
    """Whether a pyramid is built, with those of all further pages if it has some."""
    # Locked, so that nobody can mark it for deletion before this dataset refers to it.
    first = select(pyramids.c.pages).where(pyramids.c.tile_id == tile_id, *_USABLE).with_for_update()
    found = connection.execute(first).one_or_none()
    if found is None:
        return False
    (pages,) = found
    further = select(pyramids.c.tile_id).where(pyramids.c.first_page == tile_id, *_USABLE).with_for_update()
    return not pages or len(connection.scalars(further).all()) == pages - 1


def is_found(connection: Connection, row: DatasetRow, tile_id: str | None) -> bool:
    """Whether a row needs no build, because its pyramid is built."""
    return not row.forced and is_built(connection, tile_id)


def wait_again(connection: Connection, row: DatasetRow, event: Event, now: float, **values: object) -> None:
    """Move a row to a waiting state, as another attempt. Parameters and errors as of `move_row`."""
    move_row(connection, row, event, now, **{"attempt": row.attempt + 1, **values})


def move_row(connection: Connection, row: DatasetRow, event: Event, now: float, **values: object) -> None:
    """Move a row to the state after an event, and set what that state implies. Raises Conflict.

    The end of a refresh changes its owner too.

    Parameters
    ----------
    values: columns to set besides. They win over what the state implies.
    """
    is_refresh = row.kind is Kind.REFRESH
    if is_refresh and event is Event.FAIL and (original := handover.fall_back(connection, row, values, now)):
        event, values = Event.DONE if row.state is State.DOWNLOADING else Event.SHARED, original
    state = _set_state(connection, row, event, now, values)
    if is_refresh and state in FINAL:
        ended = fetch_one(connection, DatasetRow, select(datasets).where(datasets.c.seq == row.seq))
        if ended is not None:
            handover.settle(connection, ended, now, partial(_take, connection, now))


def _take(connection: Connection, now: float, row: DatasetRow, event: Event, **values: object) -> None:
    """Move the owner of a refresh. A run at work on it has nothing more to do."""
    run = run_of(connection, row.run_id) if row.run_id else None
    _set_state(connection, row, event, now, values)
    if run is not None and run.ended_at is None:
        end(connection, run, Outcome.STOPPED, Answer.REFUSED, now)


def _set_state(
    connection: Connection, row: DatasetRow, event: Event, now: float, values: Mapping[str, object]
) -> State:
    state = move(row.state, event)
    implied: dict[str, object] = {"state": state, "revision": row.revision + 1, "held_by": None, "held_places": None}
    if state in WORKING:
        implied |= {"not_before": None, **NO_FAILURE}
    if state is State.DOWNLOADING:
        implied |= NO_REWRITTEN
    if state in WAITING:
        implied |= {"run_id": None, "queued_at": now, "published_at": None, "leased_until": None, "not_before": None}
    if state in FINAL:
        implied |= {"run_id": None, "finished_at": now, "published_at": None, "leased_until": None}
    if state in WAITING or state in FINAL:
        # A run's preview is removed with the run's files.
        implied |= {"preview_key": None, "preview_width": None, "preview_height": None}
    if state is State.READY:
        implied |= NO_FAILURE
    connection.execute(update(datasets).where(datasets.c.seq == row.seq).values(**{**implied, **values}))
    if state is State.READY and row.kind is Kind.DATASET:
        changes.shown(connection, row)
    return state
