"""Whose turn it is: the slots of a stage are shared by the hosts of the sources, while several wait.

A worker takes the oldest wake-up of its queue. Where that one's host has more runs at work than another host that
waits, the row is put back for a moment, so that the other's comes first. A host alone has all slots.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, func, literal, select, union_all, update

from pipeline.errors import StageError
from pipeline.sources import check_url
from statussvc.db.tables import datasets
from statussvc.lifecycle import WAITING, WORKING, Stage

DEFER_SECONDS = 3.0
"""Until a row that was put back is published again: by then the others have begun."""

LOWEST, HIGHEST = "", "g"
"""Below and above every hash in hex."""

STATES = {
    stage: (
        next(state for state, its in WAITING.items() if its is stage),
        next(state for state, its in WORKING.items() if its is stage),
    )
    for stage in (Stage.INGEST, Stage.INSPECT)
}
"""The waiting and the working state of each stage that connects to sources."""


def host_hash(url: str) -> str:
    """What tells a URL's host from others, in sixteen hex digits."""
    try:
        host = check_url(url).host
    except StageError:
        host = ""
    return hashlib.sha256(host.encode()).hexdigest()[:16]


def is_others_turn(connection: Connection, row: Row[Any], stage: Stage) -> bool:
    """Whether another host's source waits, and has fewer runs at work than this row's host."""
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
    # Between those that are served: each piece is one look into the index, however long the queue is.
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


def defer(connection: Connection, row: Row[Any], now: float) -> None:
    """Puts a waiting row back: its wake-up is published again in a moment, and nothing counts against it."""
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == row.seq)
        .values(published_at=None, leased_until=None, not_before=now + DEFER_SECONDS)
    )


def waits_since(connection: Connection, stage: Stage) -> float | None:
    """When the oldest wake-up of a stage that nobody has taken yet was published; None where there is none."""
    return connection.scalar(
        select(datasets.c.published_at)
        .where(
            datasets.c.state == STATES[stage][0], datasets.c.published_at.is_not(None), datasets.c.deleted_at.is_(None)
        )
        .order_by(datasets.c.published_at)
        .limit(1)
    )
