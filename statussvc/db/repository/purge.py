"""What is removed for its age, a batch in a transaction: docs/decisions/0015-old-rows-are-purged.md."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, tuple_

from pipeline import faults
from statussvc.db.repository.catalogue import IDEMPOTENCY_SECONDS
from statussvc.db.repository.insert import insert_those_missing
from statussvc.db.repository.inspections import KEEP_SECONDS
from statussvc.db.repository.outbox import CLOCK_SLACK
from statussvc.db.tables import datasets, former_ids, idempotency, runs
from statussvc.enums import Kind
from statussvc.lifecycle import Stage, State

BATCH = 100
"""Rows of a kind in one transaction, for which everyone else's writes wait: some milliseconds."""

Position = tuple[float, str]
"""The end and the id of a run."""

START: Position = (0.0, "")


def keys(connection: Connection, now: float) -> int:
    """Removes idempotency keys that are free again. Returns how many."""
    old = select(idempotency.c.key).where(idempotency.c.created_at < now - IDEMPOTENCY_SECONDS).limit(BATCH)
    return connection.execute(delete(idempotency).where(idempotency.c.key.in_(old.scalar_subquery()))).rowcount


def inspections(connection: Connection, now: float) -> int:
    """Removes inspections that nobody can read any more, with their runs. Returns how many."""
    old = (
        select(datasets.c.dataset_id)
        .where(
            datasets.c.kind == Kind.INSPECTION,
            datasets.c.created_at < now - KEEP_SECONDS,
            datasets.c.state != State.INSPECTING,
            datasets.c.dataset_id.not_in(list(_newest(connection, now).values())),
        )
        .order_by(datasets.c.created_at)
        .limit(BATCH)
    )
    return _remove(connection, connection.scalars(old).all())


def deleted(connection: Connection, before: float, now: float) -> int:
    """Removes datasets that were deleted before a time, with their runs; keeps their ids. Returns how many."""
    old = (
        select(datasets.c.dataset_id)
        .where(
            datasets.c.deleted_at < before,
            datasets.c.dataset_id.not_in(list(_newest(connection, now).values())),
        )
        .order_by(datasets.c.deleted_at)
        .limit(BATCH)
    )
    found = connection.scalars(old).all()
    if found:
        insert_those_missing(connection, former_ids, [{"dataset_id": dataset_id} for dataset_id in found])
    return _remove(connection, found)


def overtaken_runs(connection: Connection, before: float, after: Position, now: float) -> tuple[int, Position]:
    """Removes runs that ended before a time, and that a later run of their dataset and stage has followed.

    Parameters
    ----------
    after: where the call before has stopped: it looks at BATCH runs, of which most may have to stay.

    Returns
    -------
    How many were removed, and where the next call goes on; START at the end.
    """
    place = tuple_(runs.c.ended_at, runs.c.run_id)
    looked_at = connection.execute(
        select(runs.c.ended_at, runs.c.run_id, runs.c.dataset_id, runs.c.stage, runs.c.attempt)
        .where(runs.c.ended_at < before, place > tuple_(*after))
        .order_by(runs.c.ended_at, runs.c.run_id)
        .limit(BATCH)
    ).all()
    # By the dataset alone, and not by the stage: SQLite would take that one's index, which half of all runs are in.
    last_ended = connection.execute(
        select(runs.c.dataset_id, runs.c.stage, func.max(runs.c.attempt).label("attempt"))
        .where(runs.c.dataset_id.in_({run.dataset_id for run in looked_at}), runs.c.ended_at.is_not(None))
        .group_by(runs.c.dataset_id, runs.c.stage)
    )
    attempts = {(row.dataset_id, row.stage): row.attempt for row in last_ended}
    newest = _newest(connection, now)
    old = [
        run.run_id
        for run in looked_at
        if run.attempt < attempts[run.dataset_id, run.stage] and run.run_id not in newest
    ]
    removed = connection.execute(delete(runs).where(runs.c.run_id.in_(old))).rowcount if old else 0
    last = looked_at[-1] if len(looked_at) == BATCH else None
    return removed, (last.ended_at, last.run_id) if last else START


def _newest(connection: Connection, now: float) -> dict[str, str]:
    """Of each stage the run by which the outbox tells what was overtaken, with its dataset's id."""
    newest: dict[str, str] = {}
    for stage in Stage:
        row = connection.execute(
            select(runs.c.run_id, runs.c.dataset_id)
            .where(runs.c.stage == stage, runs.c.published_at <= now + CLOCK_SLACK)
            .order_by(runs.c.published_at.desc())
            .limit(1)
        ).first()
        if row is not None:
            newest[row.run_id] = row.dataset_id
    return newest


def _remove(connection: Connection, dataset_ids: Sequence[str]) -> int:
    """Removes rows and, first, the runs that refer to them."""
    if dataset_ids:
        connection.execute(delete(runs).where(runs.c.dataset_id.in_(dataset_ids)))
        faults.reach("statussvc_in_purge")
        connection.execute(delete(datasets).where(datasets.c.dataset_id.in_(dataset_ids)))
    return len(dataset_ids)
