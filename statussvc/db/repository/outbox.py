"""The transactional outbox: waiting rows whose wake-up has to be published, or published again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select, update

from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import WAITING, Stage
from statussvc.policy import Policy

CLOCK_SLACK = 5.0
"""Seconds that a published time may lie in the future. Further ahead, the wall clock was set back."""


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Asks a worker to begin a stage of a dataset."""

    dataset_id: str
    attempt: int
    stage: Stage


def lease_pending(
    connection: Connection, limit: int, empty: Collection[Stage], policy: Policy, now: float
) -> list[WakeUp]:
    """Lease up to `limit` wake-ups that are due, oldest first, for the caller to publish.

    Parameters
    ----------
    empty: stages whose queue the broker shows as empty: what was published there long ago is lost.
    """
    due: list[WakeUp] = []
    ready = (
        datasets.c.deleted_at.is_(None),
        _past(datasets.c.leased_until, now, policy.publish_lease),
        _past(datasets.c.not_before, now, policy.retry_cap),
    )
    for state, stage in WAITING.items():
        # One query for each reason, so that each reads its own range of the index, however long the queue is.
        for unpublished in _unpublished(connection, stage, stage in empty, now, policy.lost_after):
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
                    .where(datasets.c.seq.in_([seq for seq, _, _ in rows]))
                    .values(leased_until=now + policy.publish_lease)
                )
            due += [WakeUp(dataset_id, attempt, stage) for _, dataset_id, attempt in rows]
    return due


def confirm_published(connection: Connection, wake_up: WakeUp, now: float) -> None:
    """Mark a wake-up as published. Does nothing once the row has moved on."""
    state = next(state for state, stage in WAITING.items() if stage is wake_up.stage)
    connection.execute(
        update(datasets)
        .where(
            datasets.c.dataset_id == wake_up.dataset_id,
            datasets.c.attempt == wake_up.attempt,
            datasets.c.state == state,
        )
        .values(published_at=now, leased_until=None)
    )


def forget_published(connection: Connection) -> None:
    """Make every waiting row due at once, for a broker that starts empty."""
    connection.execute(
        update(datasets).where(datasets.c.state.in_(list(WAITING))).values(published_at=None, leased_until=None)
    )


def _past(column: Column[float | None], now: float, longest: float) -> ColumnElement[bool]:
    # Further ahead than anybody sets it: the wall clock was set back.
    return or_(column.is_(None), column <= now, column > now + longest)


def _unpublished(
    connection: Connection, stage: Stage, empty: bool, now: float, lost_after: float
) -> Iterator[ColumnElement[bool]]:
    """The reasons to publish a row: it never was, its published time is impossible, or its message is lost."""
    published = datasets.c.published_at
    yield published.is_(None)
    yield published > now + CLOCK_SLACK
    if empty:
        yield published <= now - lost_after
        return
    # A queue is first in, first out: where a row has begun, the message of one published long before it is lost.
    begun = connection.scalars(
        # A time in the future, from before the clock was set back, would make the whole queue look lost.
        select(func.max(runs.c.published_at)).where(runs.c.stage == stage, runs.c.published_at <= now + CLOCK_SLACK)
    ).one()
    if begun is not None:
        yield published <= min(now, begun) - lost_after
