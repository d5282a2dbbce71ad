"""What users order: cancel, retry, delete. Each locks the dataset's row first."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, update

from pipeline.errors import BAD_SOURCE
from statussvc.db.repository import searchable
from statussvc.db.repository.moves import end, lock_present, move_to, run_of, wait_again
from statussvc.db.tables import datasets
from statussvc.enums import Answer, Outcome
from statussvc.lifecycle import Event, move


def cancel(connection: Connection, dataset_id: str, now: float) -> str | None:
    """Ends a dataset on request. Returns the run to stop, if one is at work. Raises NotFound, Conflict."""
    row = lock_present(connection, dataset_id)
    move_to(
        connection,
        row,
        move(row.state, Event.CANCEL),
        now,
        error_code="cancelled",
        error_message="The dataset was cancelled on request.",
        error_retryable=True,
    )
    return _stop(connection, row, now)


def retry(connection: Connection, dataset_id: str, now: float) -> None:
    """Sets a failed or cancelled dataset to work again, with fresh counts. Raises NotFound, Conflict.

    A source that was itself at fault is fetched anew: its owner may have mended it.
    """
    row = lock_present(connection, dataset_id)
    source = None if row.error_code in BAD_SOURCE else row.source_key
    event = Event.RETRY_WITH_SOURCE if source else Event.RETRY_FROM_START
    wait_again(
        connection,
        row,
        event,
        now,
        crashes=0,
        retries=0,
        source_key=source,
        finished_at=None,
        error_code=None,
        error_message=None,
        error_retryable=None,
    )


def delete(connection: Connection, dataset_id: str, now: float) -> str | None:
    """Tombstones a dataset in any state. Returns the run to stop, if one is at work. Raises NotFound."""
    row = lock_present(connection, dataset_id)
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == row.seq)
        .values(deleted_at=now, run_id=None, leased_until=None, revision=row.revision + 1)
    )
    searchable.drop(connection, row.seq)
    return _stop(connection, row, now)


def _stop(connection: Connection, row: Row[Any], now: float) -> str | None:
    run = run_of(connection, row.run_id) if row.run_id else None
    if run is None or run.ended_at is not None:
        return None
    end(connection, run, Outcome.STOPPED, Answer.REFUSED, now)
    return str(run.run_id)
