"""What lies in storage and no row refers to. Decided by the rows, in the transaction that marks it.

Kinds of prefix: sources/<dataset_id>/<attempt>, pyramids/<tile_id>/<build>/, scratch/<run_id>/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, or_, select, update

from pipeline.storage import pyramid_key, source_key
from statussvc.lifecycle import FINAL, State
from statussvc.repository.insert import insert_once
from statussvc.repository.known import forerunner
from statussvc.tables import datasets, garbage, pyramids, runs

LEASE_SECONDS = 600.0
"""How long a piece is one janitor's to delete; past it another may."""

BATCH = 100
"""Builds of nobody that one call looks up; the next sweep finds the rest."""

FORGET_AFTER = 86400.0
"""Seconds past its lease after which a piece is forgotten: any janitor has swept many times since."""


def lease(connection: Connection, prefixes: Iterable[str], keep_sources: float | None, now: float) -> list[str]:
    """Leases those of the prefixes that are garbage.

    A pyramid's row among them is marked as being deleted; a row whose source has been kept long enough forgets it,
    so that a retry downloads it again.

    Parameters
    ----------
    keep_sources: seconds for which a source is kept after its dataset's end; None: for ever.
    """
    # Found no more in storage, or its end could not be told: nobody asks about it again.
    connection.execute(delete(garbage).where(garbage.c.leased_until < now - FORGET_AFTER))
    return [
        prefix
        for prefix in prefixes
        if _is_garbage(connection, prefix, keep_sources, now) and _take(connection, prefix, now)
    ]


def built_for_nobody(connection: Connection) -> list[str]:
    """Builds that count and that no dataset refers to, whether storage still has them or not.

    A build whose files were lost would otherwise be found by no janitor, and be taken for built for ever.
    """
    referred = exists().where(datasets.c.tile_id == pyramids.c.tile_id, datasets.c.deleted_at.is_(None))
    rows = connection.execute(
        select(pyramids.c.tile_id, pyramids.c.build).where(~pyramids.c.deleting, ~referred).limit(BATCH)
    )
    return [pyramid_key(row.tile_id, row.build) for row in rows]


def confirm(connection: Connection, prefix: str) -> None:
    """Forgets a piece that is gone; of a pyramid, only the row of that very build."""
    connection.execute(delete(garbage).where(garbage.c.prefix == prefix))
    match prefix.strip("/").split("/"):
        case ["pyramids", tile_id, build]:
            connection.execute(
                delete(pyramids).where(pyramids.c.tile_id == tile_id, pyramids.c.build == build, pyramids.c.deleting)
            )


def _is_garbage(connection: Connection, prefix: str, keep_sources: float | None, now: float) -> bool:
    match prefix.strip("/").split("/"):
        case ["sources", dataset_id, attempt] if attempt.isascii() and attempt.isdecimal():
            return _source_unused(connection, dataset_id, int(attempt), keep_sources, now)
        case ["pyramids", tile_id, build]:
            return not _run_alive(connection, build) and _pyramid_unused(connection, tile_id, build)
        case ["scratch", run_id]:
            return not _run_alive(connection, run_id) and not _to_be_taken_over(connection, run_id)
    return False


def _source_unused(
    connection: Connection, dataset_id: str, attempt: int, keep_sources: float | None, now: float
) -> bool:
    """Whether a source may go: no row refers to it, or only rows that are done with it; those forget it."""
    key = source_key(dataset_id, attempt)
    # One query: between two, a second service could complete the download.
    rows = connection.execute(
        select(datasets)
        .where(
            or_(datasets.c.source_key == key, datasets.c.dataset_id == dataset_id),
            datasets.c.deleted_at.is_(None),
        )
        .with_for_update()
    ).all()
    referring = [row for row in rows if row.source_key == key]
    kept = any(not _outlived(row, keep_sources, now) for row in referring)
    if kept or any(row.state == State.DOWNLOADING and row.attempt == attempt for row in rows):
        return False
    if referring:
        connection.execute(update(datasets).where(datasets.c.source_key == key).values(source_key=None))
    return True


def _outlived(row: Row[Any], keep_sources: float | None, now: float) -> bool:
    return keep_sources is not None and row.state in FINAL and row.finished_at + keep_sources <= now


def _run_alive(connection: Connection, run_id: str) -> bool:
    # A run's row is committed before its first byte: an id without a row is of no run of this database.
    return (
        connection.scalar(select(runs.c.run_id).where(runs.c.run_id == run_id, runs.c.ended_at.is_(None))) is not None
    )


def _to_be_taken_over(connection: Connection, run_id: str) -> bool:
    """Whether the download that this run began goes on with what the run finished."""
    row = connection.execute(
        select(datasets.c.dataset_id, datasets.c.state, datasets.c.deleted_at)
        .join(runs, runs.c.dataset_id == datasets.c.dataset_id)
        .where(runs.c.run_id == run_id)
        .with_for_update(of=datasets)
    ).one_or_none()
    if row is None or row.deleted_at is not None or row.state not in (State.QUEUED, State.DOWNLOADING):
        return False
    return forerunner(connection, row.dataset_id) == run_id


def _pyramid_unused(connection: Connection, tile_id: str, build: str) -> bool:
    """Whether a build may go: it lost, or no dataset refers to its pyramid; then its row is marked."""
    row = connection.execute(select(pyramids).where(pyramids.c.tile_id == tile_id).with_for_update()).one_or_none()
    if row is None or row.build != build or row.deleting:
        return True
    referred = connection.scalar(
        select(datasets.c.seq).where(datasets.c.tile_id == tile_id, datasets.c.deleted_at.is_(None)).limit(1)
    )
    if referred is not None:
        return False
    connection.execute(update(pyramids).where(pyramids.c.tile_id == tile_id).values(deleting=True))
    return True


def _take(connection: Connection, prefix: str, now: float) -> bool:
    if insert_once(connection, garbage, prefix=prefix, leased_until=now + LEASE_SECONDS):
        return True
    taken = connection.execute(
        update(garbage)
        .where(
            garbage.c.prefix == prefix,
            (garbage.c.leased_until <= now) | (garbage.c.leased_until > now + LEASE_SECONDS),
        )
        .values(leased_until=now + LEASE_SECONDS)
    )
    return taken.rowcount == 1
