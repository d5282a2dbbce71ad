"""Whose turn it is: while several hosts' sources wait, they share the slots of a stage.

A worker takes the oldest wake-up of its queue. Where another waiting host has fewer runs at work than the host of that
source, the row is put back for some seconds, so that the other goes first. A single host may use all slots.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

from sqlalchemy import Connection, func, literal, select, union_all, update

from pipeline.errors import StageError
from pipeline.sources import check_url
from statussvc.db.rows import DatasetRow
from statussvc.db.tables import datasets
from statussvc.lifecycle import WAITING, WORKING, Stage

DEFER_SECONDS = 3.0
"""Seconds until a row that was put back is published again: the others have begun by then."""

LOWEST, HIGHEST = "", "g"
"""Texts that sort before and after every hash in hex."""

STATES = {
    stage: (
        next(state for state, its in WAITING.items() if its is stage),
        next(state for state, its in WORKING.items() if its is stage),
    )
    for stage in (Stage.INGEST, Stage.INSPECT)
}
"""The waiting and the working state of each stage that connects to sources."""


def host_hash(url: str) -> str:
    """A hash of a URL's host, in sixteen hex digits."""
    try:
        host = check_url(url).host
    except StageError:
        host = ""
    return hashlib.sha256(host.encode()).hexdigest()[:16]


def is_others_turn(connection: Connection, row: DatasetRow, stage: Stage) -> bool:
    """Whether a source of another host waits, and that host has fewer runs at work than this row's."""
    if stage not in STATES or row.host_hash is None:
        return False
    waiting, working = STATES[stage]
    query = (
        select(datasets.c.host_hash, func.count())
        .where(datasets.c.state == working, datasets.c.deleted_at.is_(None), datasets.c.host_hash.is_not(None))
        .group_by(datasets.c.host_hash)
    )
    at_work = {host: count for host, count in connection.execute(query) if host is not None}
    own = at_work.get(row.host_hash, 0)
    if not own:
        return False
    served = sorted(host for host, count in at_work.items() if count >= own)
    # One index look-up between each two hosts that have their share, however long the queue is.
    pieces = [
        select(literal(1).label("one"))
        .where(
            datasets.c.state == waiting,
            datasets.c.host_hash > low,
            datasets.c.host_hash < high,
            datasets.c.published_at.is_not(None),
            datasets.c.deleted_at.is_(None),
        )
        .limit(1)
        .subquery()
        for low, high in pairwise((LOWEST, *served, HIGHEST))
    ]
    return connection.execute(union_all(*(select(piece.c.one) for piece in pieces)).limit(1)).first() is not None


def defer(connection: Connection, row: DatasetRow, now: float) -> None:
    """Put a waiting row back: its wake-up is published again in DEFER_SECONDS, and nothing counts against it."""
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == row.seq)
        .values(published_at=None, leased_until=None, not_before=now + DEFER_SECONDS)
    )


def waits_since(connection: Connection, stage: Stage) -> float | None:
    """When the oldest wake-up of a stage that no run has begun was published; None where there is none."""
    return connection.scalars(
        select(datasets.c.published_at)
        .where(
            datasets.c.state == STATES[stage][0], datasets.c.published_at.is_not(None), datasets.c.deleted_at.is_(None)
        )
        .order_by(datasets.c.published_at)
        .limit(1)
    ).one_or_none()
