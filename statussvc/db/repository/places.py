"""How many downloads a host allows: docs/decisions/0026-what-waits-for-more-than-a-worker-is-held.md.

Only hosts that refused a connection have a row in `hosts`. Places shrink with a refusal and grow back with time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, tuple_, union_all, update

from statussvc.db.repository.insert import insert_once
from statussvc.db.repository.transitions import has
from statussvc.db.repository.turns import UNHELD
from statussvc.db.rows import DatasetRow, RunRow
from statussvc.db.tables import HELD_BY_HOST, HOST, datasets, hosts, runs
from statussvc.enums import Outcome
from statussvc.lifecycle import Stage, State
from statussvc.policy import Policy

GROWTH = 60.0
"""Seconds after which a host is tried with one download more."""

LONGEST_GROWTH = 3600.0
"""Seconds. Each time that one download more is refused, the time until the next is doubled."""

UNLIMITED = 8
"""Places with which a host's row counts no more: the default of TILEWRIGHT_source_host_CONNECTIONS."""

IN_LINE_FOR_HOST = (datasets.c.queued_at, datasets.c.seq)
"""The order of rows that wait for a host. A row that was refused or gave way is behind those that waited then."""

MOST_HELD = 1000
"""Rows of a host that are held at once. Further ones are held when they are begun."""

MOST_FREED = 100
"""Rows that are freed at once where a host has no limit any more."""

OVERLAP_SECONDS = 60.0
"""Seconds after its end in which a download may be why its host refused another one: time for that to be reported."""

MOST_LOOKED_AT = 100
"""Runs to look at for such a download."""

MOST_HOSTS = 50
"""Hosts that one call looks at. The next call goes on with the next ones."""


_source_host = func.coalesce(runs.c.host_hash, datasets.c.host_hash)
"""The host that a run downloads from: its URL's, unless the run has reported another one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a host allows: how many downloads at once, and none before a time."""

    places: int
    blocked_until: float | None


def limit(connection: Connection, host: str | None, policy: Policy, now: float) -> Limit | None:
    """What a host allows now; None for no limit."""
    if host is None:
        return None
    row = connection.execute(select(hosts).where(hosts.c.host_hash == host)).one_or_none()
    if row is None:
        return None
    places = row.places
    if places is not None:
        # A time in the future: the wall clock was set back.
        grown = int((now - row.since) // row.growth) if row.since <= now else UNLIMITED
        places = min(places + grown, UNLIMITED)
    is_blocked = row.blocked_until is not None and now < row.blocked_until <= now + policy.retry_after_cap
    if not is_blocked and places in (None, UNLIMITED):
        return None
    return Limit(UNLIMITED if places is None else places, row.blocked_until if is_blocked else None)


def at_work(connection: Connection, host: str | None) -> int:
    """How many places of a host are taken: by downloads of its URLs that have not been led to another host."""
    query = _downloading(func.count()).where(datasets.c.host_hash == host, _source_host == host)
    return connection.scalar(query) or 0


def others_at(connection: Connection, host: str | None, row: DatasetRow) -> list[str]:
    """The runs of downloads other than a row's that come from a host, whichever URLs led them there."""
    query = _downloading(datasets.c.run_id).where(_source_host == host, datasets.c.seq != row.seq)
    return list(connection.scalars(query))


def has_overlapped(connection: Connection, host: str | None, row: DatasetRow, run: RunRow, now: float) -> bool:
    """Whether a host sent bytes to another download beside a row's run, which has ended since.

    The host may have refused this one for its sake. Runs that failed do not count: the host may have refused all.
    """
    served = and_(runs.c.outcome != Outcome.FAILED, runs.c.bytes_downloaded > 0)
    lately = (
        select(runs.c.dataset_id, runs.c.host_hash)
        .where(
            runs.c.ended_at >= max(run.begun_at, now - OVERLAP_SECONDS),
            runs.c.ended_at <= now,
            has(runs.c.stage, Stage.INGEST),
            or_(runs.c.outcome == Outcome.COMPLETED, served),
        )
        .order_by(runs.c.ended_at.desc())
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    others = (
        select(func.coalesce(lately.c.host_hash, datasets.c.host_hash))
        .join_from(lately, datasets, datasets.c.dataset_id == lately.c.dataset_id)
        .where(datasets.c.dataset_id != row.dataset_id)
    )
    return host is not None and host in connection.scalars(others).all()


def shrink(connection: Connection, host: str, others: int, known: Limit | None, now: float) -> int:
    """Note that a host refused one download more than `others`. Returns how many it allows from now on."""
    insert_once(connection, hosts, host_hash=host, places=None, since=now, growth=GROWTH, blocked_until=None)
    row = connection.execute(select(hosts).where(hosts.c.host_hash == host)).one()
    is_growth = known is not None and row.places is not None and row.places < known.places
    growth = min(2 * row.growth, LONGEST_GROWTH) if is_growth else row.growth if known is not None else GROWTH
    places = max(1, min(others, known.places if known is not None else others))
    connection.execute(update(hosts).where(hosts.c.host_hash == host).values(places=places, since=now, growth=growth))
    return places


def block(connection: Connection, host: str, until: float, now: float) -> None:
    """Note that a host asked to be left alone."""
    insert_once(connection, hosts, host_hash=host, places=None, since=now, growth=GROWTH, blocked_until=None)
    connection.execute(update(hosts).where(hosts.c.host_hash == host).values(blocked_until=until))


def is_full(connection: Connection, host: str, allows: Limit) -> bool:
    """Whether a host takes no further download now."""
    return allows.blocked_until is not None or at_work(connection, host) >= allows.places


def is_behind_others(connection: Connection, host: str, row: DatasetRow, policy: Policy, now: float) -> bool:
    """Whether a row that has been held for its host for longer than this one waits has its turn first."""
    first = _first_held(connection, HOST + host, policy, now)
    return first is not None and (row.queued_at, row.seq) > first


def hold(connection: Connection, row: DatasetRow, by: Limit, policy: Policy, now: float) -> list[str]:
    """Hold a row and others of its host that wait for a download and are due, the oldest first. Returns their ids.

    While the host has a place, rows that are before all that are held stay as they are: it was given to one of them.
    """
    host = row.host_hash or ""
    first = None if is_full(connection, host, by) else _first_held(connection, HOST + host, policy, now)
    # Without an order: an index gives the rows of a host by when they were published, and so the oldest first.
    others = (
        select(datasets.c.seq)
        .where(datasets.c.state == State.QUEUED, datasets.c.host_hash == host, *UNHELD, due(policy, now))
        .where(*([tuple_(*IN_LINE_FOR_HOST) > tuple_(*first)] if first else []))
        .limit(MOST_HELD)
    )
    seqs = union_all(select(datasets.c.seq).where(datasets.c.seq == row.seq), select(others.subquery().c.seq))
    return list(
        connection.scalars(
            update(datasets)
            .where(datasets.c.seq.in_(seqs))
            .values(
                **held_columns(host, by),
                published_at=None,
                leased_until=None,
                revision=datasets.c.revision + 1,
            )
            .returning(datasets.c.dataset_id)
        )
    )


def behind_others(connection: Connection, row: DatasetRow, policy: Policy, now: float) -> dict[str, object]:
    """The columns of a row that gives its place to others that wait for its host; none where no other waits."""
    host, allows = row.host_hash, limit(connection, row.host_hash, policy, now)
    if host is None or allows is None or _first_held(connection, HOST + host, policy, now) is None:
        return {}
    return held_columns(host, allows)


def waits_since(connection: Connection, policy: Policy, now: float) -> list[tuple[float, set[str]]]:
    """For each host that others wait for: since when the first of them waits, and the runs that take its places."""
    if not _held_hosts(connection, "", most=1):
        return []
    taken: dict[str, set[str]] = {}
    own = _downloading(datasets.c.host_hash, datasets.c.run_id).where(datasets.c.host_hash == _source_host)
    for host, run_id in connection.execute(own):
        taken.setdefault(host, set()).add(run_id)
    found = ((_first_held(connection, HOST + host, policy, now), run_ids) for host, run_ids in taken.items())
    return [(first[0], run_ids) for first, run_ids in found if first is not None]


def held_columns(host: str, by: Limit) -> dict[str, object]:
    """The columns of a row that waits for its host."""
    if by.blocked_until is not None:
        return {"held_by": HOST + host, "held_places": None, "not_before": by.blocked_until}
    return {"held_by": HOST + host, "held_places": by.places}


def settle(connection: Connection, policy: Policy, now: float, after: str) -> tuple[list[str], str]:
    """Free as many rows as their hosts have places. Returns the ids of rows that changed, and the last host looked at.

    Parameters
    ----------
    after: the host looked at last by the call before.
    """
    changed: list[str] = []
    held = _held_hosts(connection, after)
    for name in held:
        host = name.removeprefix(HOST)
        allows = limit(connection, host, policy, now)
        if allows is None:
            free = MOST_FREED
        elif allows.blocked_until is not None:
            continue
        else:
            free = allows.places - at_work(connection, host) - _about_to_begin(connection, host, policy, now)
        if free > 0:
            changed += _free(connection, name, free, policy, now)
    return changed, held[-1] if len(held) == MOST_HOSTS else ""


def due(policy: Policy, now: float) -> ColumnElement[bool]:
    """Whether a row's delay is over. Further ahead than anybody sets it, the wall clock was set back."""
    column = datasets.c.not_before
    return or_(column.is_(None), column <= now, column > now + policy.longest_delay)


def _downloading(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Downloads at work, each with its run."""
    return (
        select(*columns)
        .select_from(datasets)
        .outerjoin(runs, runs.c.run_id == datasets.c.run_id)
        .where(datasets.c.state == State.DOWNLOADING, *UNHELD)
    )


def _first_held(connection: Connection, held_by: str, policy: Policy, now: float) -> tuple[float, int] | None:
    """Of the rows that wait for a host and are due, the place in line of the first; None where no row does.

    It is since when the row has waited, and its number. Its own delay counts as waiting. Otherwise, rows that are
    refused again and again would restart the time that others wait.
    """
    query = (
        select(*IN_LINE_FOR_HOST)
        .where(datasets.c.held_by == held_by, HELD_BY_HOST, due(policy, now))
        .order_by(*IN_LINE_FOR_HOST)
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])


def _held_hosts(connection: Connection, after: str, most: int = MOST_HOSTS) -> list[str]:
    found: list[str] = []
    after = after or HOST
    while len(found) < most:
        following: str | None = connection.scalar(
            select(func.min(datasets.c.held_by)).where(datasets.c.held_by > after, datasets.c.deleted_at.is_(None))
        )
        if following is None:
            break
        found.append(following)
        after = following
    return found


def _about_to_begin(connection: Connection, host: str, policy: Policy, now: float) -> int:
    """How many rows will take a place as soon as they are begun. Those behind a held one will be held instead."""
    first = _first_held(connection, HOST + host, policy, now)
    some = (
        select(datasets.c.seq)
        .where(datasets.c.state == State.QUEUED, datasets.c.host_hash == host, *UNHELD, due(policy, now))
        .where(*([tuple_(*IN_LINE_FOR_HOST) < tuple_(*first)] if first else []))
        .limit(UNLIMITED)
    )
    return connection.scalar(select(func.count()).select_from(some.subquery())) or 0


def _free(connection: Connection, held_by: str, most: int, policy: Policy, now: float) -> list[str]:
    seqs = (
        select(datasets.c.seq)
        .where(datasets.c.held_by == held_by, HELD_BY_HOST, due(policy, now))
        .order_by(*IN_LINE_FOR_HOST)
        .limit(most)
    )
    return list(
        connection.scalars(
            update(datasets)
            .where(datasets.c.seq.in_(seqs.scalar_subquery()))
            .values(
                held_by=None,
                held_places=None,
                not_before=None,
                published_at=None,
                leased_until=None,
                attempt=datasets.c.attempt + 1,
                revision=datasets.c.revision + 1,
            )
            .returning(datasets.c.dataset_id)
        )
    )
