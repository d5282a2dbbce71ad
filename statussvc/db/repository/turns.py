"""Whose turn it is: hosts whose sources wait share the slots of each stage.

A message says only that something of its stage waits. Which row is granted is decided here. A host that waits alone may
use all slots. See docs/decisions/0019-a-message-is-for-whose-turn-it-is.md.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Connection, func, select

from pipeline.errors import StageError
from pipeline.sources import check_url
from statussvc.db.tables import datasets
from statussvc.lifecycle import WAITING, WORKING, Stage

MOST_LOOKED_UP = 100
"""Hosts looked up for one turn. Those whose rows are gone leave the line; a host is looked up in a tenth of a
millisecond."""

IN_LINE = (datasets.c.host_hash, datasets.c.published_at, datasets.c.seq)
"""The order of a host's rows: by when their wake-ups were published, then by when they were submitted."""

UNHELD = (datasets.c.deleted_at.is_(None), datasets.c.held_by.is_(None))
"""Rows that may be published and granted, and rows at work. The indexes have only these."""

WAITING_STATE = {stage: state for state, stage in WAITING.items()}
WORKING_STATE = {stage: state for state, stage in WORKING.items()}

Host = str | None
"""A host_hash. None stands for all rows from before there were any."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that waits and whose turn it is."""

    dataset_id: str
    attempt: int


def host_hash(url: str) -> str:
    """A hash of a URL's host, in sixteen hex digits."""
    try:
        host = check_url(url).host
    except StageError:
        host = ""
    return hash_of(host)


def hash_of(host: str) -> str:
    """The same of a host as `check_url` names it."""
    return hashlib.sha256(host.encode()).hexdigest()[:16]


class Turns:
    """The order in which hosts have their turns.

    It is kept in memory, and only the order is lost with it: each row is looked up before it is granted. Used by the
    database's writer thread only.
    """

    def __init__(self) -> None:
        self._lines: dict[Stage, OrderedDict[Host, None]] = {}
        self._at_work: dict[Stage, set[Host]] = {}
        self._published: dict[Stage, str] = {}

    def join(self, connection: Connection, stage: Stage, host: Host) -> None:
        """Put a host at the end of a stage's line, unless it has its place already."""
        self._line(connection, stage).setdefault(host)

    def next(self, connection: Connection, stage: Stage) -> Waiting | None:
        """The row whose turn it is, of those whose wake-ups are published; None where no such row waits."""
        line = self._line(connection, stage)
        at_work = _at_work(connection, stage)
        for host in self._at_work.get(stage, set()) - at_work.keys():
            if host in line:  # its last run has ended since the last turn, and it waits again
                line.move_to_end(host)
        self._at_work[stage] = set(at_work)
        # Sorting is stable: among those with as many runs at work, the order is that of the line.
        hosts = list(islice(line, MOST_LOOKED_UP + len(at_work)))
        for host in sorted(hosts, key=lambda one: at_work.get(one, 0)):
            row = _oldest(connection, stage, of_host(connection, host))
            if row is None:
                del line[host]
                continue
            line.move_to_end(host)
            self._at_work[stage].add(host)
            return row
        return _oldest(connection, stage)

    def to_publish(self, connection: Connection, stage: Stage, most: int) -> Iterator[str]:
        """Up to `most` hosts with rows that wait, published or not, going round from where the last call ended."""
        start = host = self._published.get(stage, "")
        is_round = False
        for _ in range(most):
            following = _host_after(connection, stage, host)
            if following is None:
                if is_round:
                    return
                is_round, following = True, _host_after(connection, stage, "")
            if following is None or (is_round and following > start):
                return
            host = self._published[stage] = following
            yield host

    def _line(self, connection: Connection, stage: Stage) -> OrderedDict[Host, None]:
        if stage not in self._lines:
            query = (
                select(datasets.c.host_hash)
                .where(*_published(stage))
                .group_by(datasets.c.host_hash)
                .order_by(func.min(datasets.c.published_at))
            )
            self._lines[stage] = OrderedDict.fromkeys(connection.scalars(query))
        return self._lines[stage]


def waits_since(connection: Connection, stage: Stage) -> float | None:
    """When the oldest wake-up of a stage that no run has begun was published; None where there is none."""
    query = select(datasets.c.published_at).where(*_published(stage)).order_by(datasets.c.published_at).limit(1)
    return connection.scalars(query).one_or_none()


def _published(stage: Stage) -> tuple[ColumnElement[bool], ...]:
    """Rows that wait for a stage, and whose wake-up is published."""
    return (
        datasets.c.state == WAITING_STATE[stage],
        datasets.c.published_at.is_not(None),
        *UNHELD,
    )


def of_host(connection: Connection, host: Host) -> ColumnElement[bool]:
    """Whether a row is of a host. For queries in the order of IN_LINE.

    PostgreSQL without statistics may read a whole queue, in its order, for the rows of one host. A range keeps
    `host_hash` part of the order, and only the index on it has that. SQLite needs the equality for the same index.
    """
    if host is None or connection.dialect.name == "sqlite":
        return datasets.c.host_hash == host
    return (datasets.c.host_hash >= host) & (datasets.c.host_hash <= host)


def _oldest(connection: Connection, stage: Stage, of: ColumnElement[bool] | None = None) -> Waiting | None:
    query = select(datasets.c.dataset_id, datasets.c.attempt).where(*_published(stage)).limit(1)
    if of is None:
        query = query.order_by(datasets.c.published_at, datasets.c.seq)
    else:
        query = query.where(of).order_by(*IN_LINE)
    row = connection.execute(query).one_or_none()
    return Waiting(row.dataset_id, row.attempt) if row else None


def _host_after(connection: Connection, stage: Stage, host: str) -> str | None:
    query = (
        select(datasets.c.host_hash)
        .where(datasets.c.state == WAITING_STATE[stage], datasets.c.host_hash > host, *UNHELD)
        .order_by(datasets.c.host_hash)
        .limit(1)
    )
    return connection.scalars(query).one_or_none()


def _at_work(connection: Connection, stage: Stage) -> dict[Host, int]:
    """How many runs each host has at work."""
    query = (
        select(datasets.c.host_hash, func.count())
        .where(datasets.c.state == WORKING_STATE[stage], *UNHELD)
        .group_by(datasets.c.host_hash)
    )
    return dict(connection.execute(query).all())
