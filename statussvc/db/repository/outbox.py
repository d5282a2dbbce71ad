"""The transactional outbox: waiting rows whose wake-up has to be published, or published again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select, update

from statussvc.db.repository.turns import IN_LINE, UNHELD, WAITING_STATE, Turns, of_host
from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import WAITING, Stage, State
from statussvc.policy import Policy

CLOCK_SLACK = 5.0
"""Seconds that a published time may lie in the future. Further ahead, the wall clock was set back."""

Order = tuple[Column[str | None] | Column[float | None] | Column[int], ...]
OLDEST: Order = (datasets.c.published_at, datasets.c.seq)

MOST_HOSTS = 50
"""Hosts that are looked up for one batch. Each takes two statements of a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Asks a worker to begin a stage of a dataset."""

    dataset_id: str
    attempt: int
    stage: Stage


class _Due(NamedTuple):
    """A row whose wake-up is due."""

    seq: int
    wake_up: WakeUp


def lease_pending(
    connection: Connection, limit: int, empty: Collection[Stage], policy: Policy, now: float, turns: Turns
) -> list[WakeUp]:
    """Lease up to `limit` wake-ups that are due, for the caller to publish.

    The stages take turns. Within a stage the oldest come first; where there are more than a batch, every second one is
    of another host, so that a new one does not wait until all others are published.

    Parameters
    ----------
    empty: stages whose queue the broker shows as empty: what was published there long ago is lost.
    """
    ready = (
        *UNHELD,
        _past(datasets.c.leased_until, now, policy.publish_lease),
        _past(datasets.c.not_before, now, policy.longest_delay),
    )

    def due(state: State, reason: ColumnElement[bool], most: int, order: Order = OLDEST) -> list[_Due]:
        rows = connection.execute(
            select(datasets.c.seq, datasets.c.dataset_id, datasets.c.attempt)
            .where(datasets.c.state == state, reason, *ready)
            .order_by(*order)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return [_Due(seq, WakeUp(dataset_id, attempt, WAITING[state])) for seq, dataset_id, attempt in rows]

    lines: list[list[_Due]] = []
    for state, stage in WAITING.items():
        line: list[_Due] = []
        # One query for each reason, so that each reads its own range of the index, however long the queue is.
        for unpublished in _unpublished(connection, stage, stage in empty, now, policy.lost_after):
            line += due(state, unpublished, limit - len(line))
        if len(line) == limit:
            never_published = datasets.c.published_at.is_(None)
            fair = [
                one
                for host in turns.to_publish(connection, stage, min(limit // 2, MOST_HOSTS))
                for one in due(state, never_published & of_host(connection, host), 1, IN_LINE)
            ]
            line = list(_alternating([fair, line]))
        lines.append(line)
    leased = list(islice(_alternating(lines), limit))
    if leased:
        connection.execute(
            update(datasets)
            .where(datasets.c.seq.in_([one.seq for one in leased]))
            .values(leased_until=now + policy.publish_lease)
        )
    return [one.wake_up for one in leased]


def _alternating(lines: Iterable[Iterable[_Due]]) -> Iterator[_Due]:
    """One of each line in turn, each but once."""
    seen: set[int] = set()
    for abreast in zip_longest(*lines):
        for one in abreast:
            if one is not None and one.seq not in seen:
                seen.add(one.seq)
                yield one


def confirm_published(connection: Connection, wake_up: WakeUp, now: float, turns: Turns) -> None:
    """Mark a wake-up as published, which gives its host a place in line. Does nothing once the row has moved on."""
    its = (
        datasets.c.dataset_id == wake_up.dataset_id,
        datasets.c.attempt == wake_up.attempt,
        datasets.c.state == WAITING_STATE[wake_up.stage],
        datasets.c.held_by.is_(None),
    )
    found = connection.execute(select(datasets.c.host_hash).where(*its).with_for_update()).one_or_none()
    if found is not None:
        connection.execute(update(datasets).where(*its).values(published_at=now, leased_until=None))
        turns.join(connection, wake_up.stage, found.host_hash)


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
