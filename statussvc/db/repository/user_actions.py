"""What users do with a dataset: cancel, retry, delete. Each function locks the dataset's row first."""

from __future__ import annotations

from sqlalchemy import Connection, update

from pipeline.errors import BAD_SOURCE
from statussvc.db.repository import addresses, changes, holds, labels, refreshes, searchable, versions
from statussvc.db.repository.transitions import NO_FAILURE, end, lock_present, move_row, run_of, wait_again
from statussvc.db.rows import DatasetRow, Failure
from statussvc.db.tables import datasets
from statussvc.enums import Answer, Outcome
from statussvc.lifecycle import FINAL, Event

CANCELLED = Failure("cancelled", "The dataset was cancelled on request.", retryable=True)


def cancel(connection: Connection, dataset_id: str, now: float) -> str | None:
    """Cancel a dataset, or the refresh of a ready one. Returns the run to stop, if one is at work.

    Raises NotFound, Conflict.
    """
    row = lock_present(connection, dataset_id)
    dropped = refreshes.drop(connection, row, now)
    if row.refresh_id is not None and row.state in FINAL:
        return dropped
    row = lock_present(connection, dataset_id)
    move_row(connection, row, Event.CANCEL, now, **CANCELLED.columns())
    return _stop(connection, row, now)


def retry(connection: Connection, dataset_id: str, now: float, url: str = "") -> None:
    """Retry a failed or cancelled dataset, with fresh counts. Raises NotFound, Conflict.

    A source that was itself at fault is downloaded again: its owner may have repaired it.

    Parameters
    ----------
    url: the source's new URL; "": the present one.
    """
    row = lock_present(connection, dataset_id)
    if url:
        addresses.change(connection, row, url, now)
        row = lock_present(connection, dataset_id)
    source = None if row.error_code in BAD_SOURCE else row.source_key
    event = Event.RETRY_WITH_SOURCE if source else Event.RETRY_FROM_START
    if not source:
        # Rows that it holds have waited for longer than its new download.
        holds.leave(connection, dataset_id)
    wait_again(
        connection,
        row,
        event,
        now,
        crashes=0,
        retries=0,
        refusals=0,
        waited=0.0,
        source_key=source,
        finished_at=None,
        **NO_FAILURE,
    )


def delete(connection: Connection, dataset_id: str, now: float) -> str | None:
    """Mark a dataset as deleted, in any state. Returns the run to stop, if one is at work. Raises NotFound."""
    row = lock_present(connection, dataset_id)
    dropped = refreshes.drop(connection, row, now)
    versions.forget_all(connection, dataset_id)
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == row.seq)
        .values(deleted_at=now, run_id=None, leased_until=None, revision=datasets.c.revision + 1)
    )
    searchable.drop(connection, row.seq)
    labels.drop(connection, row.seq)
    changes.gone(connection, dataset_id)
    return _stop(connection, row, now) or dropped


def _stop(connection: Connection, row: DatasetRow, now: float) -> str | None:
    run = run_of(connection, row.run_id) if row.run_id else None
    if run is None or run.ended_at is not None:
        return None
    end(connection, run, Outcome.STOPPED, Answer.REFUSED, now)
    return run.run_id
