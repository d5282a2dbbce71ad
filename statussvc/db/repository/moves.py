"""Lock a dataset's row, move it to another state, end its run: what stages and orders have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Row, select, update

from pipeline.errors import NotFound
from statussvc.db.tables import datasets, runs
from statussvc.enums import Answer, Kind, Outcome
from statussvc.lifecycle import FINAL, WAITING, WORKING, Event, Stage, State, move

Member = TypeVar("Member", State, Stage)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker that reported an outcome is told.

    Parameters
    ----------
    next_attempt: set where the worker has to publish a wake-up for the tiler.
    """

    answer: Answer
    dataset_id: str = ""
    next_attempt: int | None = None


def has(column: Column[Member], member: Member) -> ColumnElement[bool]:
    """Whether a column has a value, where another index is to be taken than the one for that value.

    It is asked by what it is not. Else SQLite, which counts no rows, may look at each that has so common a value.
    """
    return column.not_in([other for other in type(member) if other is not member])


def lock(connection: Connection, dataset_id: str) -> Row[Any] | None:
    """A dataset's or inspection's row, which no other service can change until the transaction ends."""
    return connection.execute(
        select(datasets).where(datasets.c.dataset_id == dataset_id).with_for_update()
    ).one_or_none()


def lock_present(connection: Connection, dataset_id: str) -> Row[Any]:
    """As `lock`. Raises NotFound, also where it is deleted or no dataset."""
    row = lock(connection, dataset_id)
    if row is None or row.deleted_at is not None or row.kind != Kind.DATASET:
        raise NotFound(f"There is no dataset {dataset_id}.")
    return row


def run_of(connection: Connection, run_id: str) -> Row[Any] | None:
    """A run's row."""
    return connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()


def end(
    connection: Connection,
    run: Row[Any],
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


def wait_again(connection: Connection, row: Row[Any], event: Event, now: float, **values: Any) -> None:
    """Moves a row into a waiting state, as another attempt."""
    move_to(connection, row, move(row.state, event), now, **{"attempt": row.attempt + 1, **values})


def move_to(connection: Connection, row: Row[Any], state: State, now: float, **values: Any) -> None:
    """Moves a row, with what every move into a kind of state implies."""
    implied: dict[str, Any] = {"state": state, "revision": row.revision + 1}
    if state in WORKING:
        implied |= {"not_before": None, "error_code": None, "error_message": None, "error_retryable": None}
    if state in WAITING:
        implied |= {"run_id": None, "queued_at": now, "published_at": None, "leased_until": None, "not_before": None}
    if state in FINAL:
        implied |= {"run_id": None, "finished_at": now, "published_at": None, "leased_until": None}
    if state in WAITING or state in FINAL:
        # A run's preview goes with the run's files.
        implied |= {"preview_key": None, "preview_width": None, "preview_height": None}
    if state is State.READY:
        implied |= {"error_code": None, "error_message": None, "error_retryable": None}
    connection.execute(update(datasets).where(datasets.c.seq == row.seq).values(**{**implied, **values}))
