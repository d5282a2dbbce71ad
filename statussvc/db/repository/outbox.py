"""The transactional outbox: waiting rows whose wake-up has to be published, or published again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select, update

from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import WAITING, Stage

LEASE_SECONDS = 15.0
"""How long, unless set otherwise, a row is one publisher's: longer than a publish may block (10 s)."""

LOST_AFTER = 60.0
"""Seconds, unless set otherwise, after which a published row that still waits is looked at: its message may be lost."""

CLOCK_SLACK = 5.0
"""Seconds that a published time may lie ahead before it counts as a jump of the wall clock."""


@dataclass(frozen=True, slots=True)
class Due:
    """One wake-up to publish."""

    dataset_id: str
    attempt: int
    stage: Stage


def lease_pending(
    connection: Connection,
    limit: int,
    empty: Collection[Stage],
    longest_delay: float,
    now: float,
    lost_after: float = LOST_AFTER,
    lease_seconds: float = LEASE_SECONDS,
) -> list[Due]:
    """Leases up to `limit` waiting rows that are due, oldest first.

    Parameters
    ----------
    empty: stages whose queue the broker shows empty: what was published there long ago is lost.
    longest_delay: seconds; a `not_before` further ahead is due, since the wall clock has jumped.
    lost_after: seconds after which a message may be lost.
    lease_seconds: for which the rows are the caller's to publish.
    """
    due: list[Due] = []
    ready = (
        datasets.c.deleted_at.is_(None),
        _past(datasets.c.leased_until, now, lease_seconds),
        _past(datasets.c.not_before, now, longest_delay),
    )
    for state, stage in WAITING.items():
        # One query a reason, so that each reads its own range of the index, however long the queue is.
        for unpublished in _unpublished(connection, stage, stage in empty, now, lost_after):
            rows = connection.execute(
                select(datasets.c.seq, datasets.c.dataset_id, datasets.c.attempt)
                .where(datasets.c.state == state, unpublished, *ready)
                .order_by(datasets.c.published_at, datasets.c.seq)
                .limit(limit - len(due))
                .with_for_update(skip_locked=True)
            ).all()
            if rows:
                connection.execute(
                    update(datasets)
                    .where(datasets.c.seq.in_([row.seq for row in rows]))
                    .values(leased_until=now + lease_seconds)
                )
            due += [Due(row.dataset_id, row.attempt, stage) for row in rows]
    return due


def confirm_published(connection: Connection, dataset_id: str, attempt: int, stage: Stage, now: float) -> None:
    """Marks a row as published. Does nothing once the row has moved on."""
    state = next(waiting for waiting, stage_of in WAITING.items() if stage_of is stage)
    connection.execute(
        update(datasets)
        .where(datasets.c.dataset_id == dataset_id, datasets.c.attempt == attempt, datasets.c.state == state)
        .values(published_at=now, leased_until=None)
    )


def forget_published(connection: Connection) -> None:
    """Makes every waiting row due at once, for a broker that starts empty."""
    connection.execute(
        update(datasets).where(datasets.c.state.in_(list(WAITING))).values(published_at=None, leased_until=None)
    )


def _past(column: Column[float | None], now: float, longest: float) -> ColumnElement[bool]:
    # Further ahead than it can have been set: the wall clock was set back.
    return or_(column.is_(None), column <= now, column > now + longest)


def _unpublished(
    connection: Connection, stage: Stage, empty: bool, now: float, lost_after: float
) -> Iterator[ColumnElement[bool]]:
    """The reasons for which a row has to be published: never done, done at no possible time, message lost."""
    published = datasets.c.published_at
    yield published.is_(None)
    yield published > now + CLOCK_SLACK
    if empty:
        yield published <= now - lost_after
        return
    # A queue is first in, first out: what was published long before a row that has begun is lost.
    begun = connection.scalar(
        # A time of before the wall clock was set back would make the whole queue look lost, again and again.
        select(func.max(runs.c.published_at)).where(runs.c.stage == stage, runs.c.published_at <= now + CLOCK_SLACK)
    )
    if begun is not None:
        yield published <= min(now, begun) - lost_after
