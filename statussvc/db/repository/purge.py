"""Remove old rows, one batch in a transaction: docs/decisions/0015-old-rows-are-purged.md."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, tuple_

from statussvc.db.repository.catalogue import IDEMPOTENCY_SECONDS
from statussvc.db.repository.insert import insert_those_missing
from statussvc.db.repository.inspections import KEEP_SECONDS
from statussvc.db.repository.outbox import CLOCK_SLACK
from statussvc.db.tables import changes, datasets, former_ids, idempotency, runs
from statussvc.enums import Kind
from statussvc.lifecycle import Stage, State

BATCH = 100
"""Rows of a kind in one transaction: it takes some milliseconds, and all other writes wait for it."""

REFRESH_SECONDS = 600.0
"""Seconds for which the row of a refresh that has ended is kept: lists of datasets have to step over it. Others that
share its file finish by then, and a worker that lost an answer has repeated its report."""

Position = tuple[float, str]
"""A run's end (seconds since the epoch) and its id."""

START: Position = (0.0, "")


def keys(connection: Connection, now: float) -> int:
    """Remove idempotency keys that have expired. Returns how many."""
    old = select(idempotency.c.key).where(idempotency.c.created_at < now - IDEMPOTENCY_SECONDS).limit(BATCH)
    return connection.execute(delete(idempotency).where(idempotency.c.key.in_(old.scalar_subquery()))).rowcount


def overtaken_changes(connection: Connection, before: float) -> int:
    """Remove changes older than a time that were followed by a later one of their dataset. Returns how many."""
    old = (
        select(changes.c.seq)
        .where(changes.c.overtaken, changes.c.ended_at < before)
        .order_by(changes.c.ended_at)
        .limit(BATCH)
    )
    found = connection.scalars(old).all()
    return connection.execute(delete(changes).where(changes.c.seq.in_(found))).rowcount if found else 0


def inspections(connection: Connection, now: float) -> int:
    """Remove inspections that are too old to be read, and their runs. Returns how many."""
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


def refreshes(connection: Connection, now: float) -> int:
    """Remove refreshes that have ended, and their runs. Returns how many."""
    old = (
        select(datasets.c.dataset_id)
        .where(
            datasets.c.kind == Kind.REFRESH,
            datasets.c.deleted_at < now - REFRESH_SECONDS,
            datasets.c.dataset_id.not_in(list(_newest(connection, now).values())),
        )
        .order_by(datasets.c.created_at)
        .limit(BATCH)
    )
    return _remove(connection, connection.scalars(old).all())


def deleted(connection: Connection, before: float, now: float) -> int:
    """Remove datasets deleted before a time, and their runs; their ids stay taken. Returns how many."""
    old = (
        select(datasets.c.dataset_id)
        .where(
            datasets.c.deleted_at < before,
            datasets.c.kind != Kind.REFRESH,
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
    """Remove runs that ended before a time and were followed by a later run of their dataset and stage.

    Parameters
    ----------
    after: where the last call stopped. A call looks at BATCH runs, most of which may have to stay.

    Returns
    -------
    How many were removed, and where the next call continues; START at the end.
    """
    place = tuple_(runs.c.ended_at, runs.c.run_id)
    looked_at = connection.execute(
        select(runs.c.ended_at, runs.c.run_id, runs.c.dataset_id, runs.c.stage, runs.c.attempt)
        .where(runs.c.ended_at < before, place > tuple_(*after))
        .order_by(runs.c.ended_at, runs.c.run_id)
        .limit(BATCH)
    ).all()
    # Not filtered by stage: SQLite would use the index on it, and half of all runs have the same stage.
    last_ended = connection.execute(
        select(runs.c.dataset_id, runs.c.stage, func.max(runs.c.attempt))
        .where(
            runs.c.dataset_id.in_({dataset_id for _, _, dataset_id, _, _ in looked_at}), runs.c.ended_at.is_not(None)
        )
        .group_by(runs.c.dataset_id, runs.c.stage)
    )
    attempts = {(dataset_id, stage): attempt for dataset_id, stage, attempt in last_ended}
    newest = _newest(connection, now)
    old = [
        run_id
        for _, run_id, dataset_id, stage, attempt in looked_at
        if attempt < attempts[dataset_id, stage] and run_id not in newest
    ]
    removed = connection.execute(delete(runs).where(runs.c.run_id.in_(old))).rowcount if old else 0
    if len(looked_at) < BATCH:
        return removed, START
    ended_at, run_id, _, _, _ = looked_at[-1]
    return removed, (ended_at or 0.0, run_id)


def _newest(connection: Connection, now: float) -> dict[str, str]:
    """For each stage, the run by which the outbox tells which messages are lost, and its dataset's id."""
    newest: dict[str, str] = {}
    for stage in Stage:
        row = connection.execute(
            select(runs.c.run_id, runs.c.dataset_id)
            .where(runs.c.stage == stage, runs.c.published_at <= now + CLOCK_SLACK)
            .order_by(runs.c.published_at.desc())
            .limit(1)
        ).first()
        if row is not None:
            run_id, dataset_id = row
            newest[run_id] = dataset_id
    return newest


def _remove(connection: Connection, dataset_ids: Sequence[str]) -> int:
    """Remove rows, and first the runs that refer to them. Returns how many rows."""
    if dataset_ids:
        connection.execute(delete(runs).where(runs.c.dataset_id.in_(dataset_ids)))
        connection.execute(delete(datasets).where(datasets.c.dataset_id.in_(dataset_ids)))
    return len(dataset_ids)
