"""What is in storage and no row refers to. The rows decide, in the transaction that marks it.

Kinds of prefix: sources/<dataset_id>/<attempt>, pyramids/<tile_id>/<build>/, scratch/<run_id>/.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update

from pipeline.storage import pyramid_key, source_key
from statussvc.db.repository.insert import insert_those_missing
from statussvc.db.repository.reusable import previous_download
from statussvc.db.tables import datasets, garbage, pyramids, runs, versions
from statussvc.lifecycle import FINAL, State

LEASE_SECONDS = 600.0
"""Seconds for which a prefix is one janitor's to delete; then another may take it."""

MOST = 500
"""Prefixes in one call: each costs some indexed reads, in a transaction that all other writes wait for."""

LOOK = 200
"""Builds in one call of `unreferenced_builds`; the next call continues after them."""

KEEP_PARTS = 7 * 86400.0
"""Seconds for which a part of a source is kept whose link expired: long enough to find it out and get a new link."""

MOST_DIGITS = 9
"""Digits of an attempt in a source's key."""

FORGET_AFTER = 86400.0
"""Seconds after its lease until a prefix is forgotten: every janitor has swept many times by then."""


class _Source(NamedTuple):
    dataset_id: str
    attempt: int

    @property
    def key(self) -> str:
        return source_key(self.dataset_id, self.attempt)


class _Build(NamedTuple):
    tile_id: str
    build: str


class _Scratch(NamedTuple):
    run_id: str


_Item = _Source | _Build | _Scratch


def lease(connection: Connection, prefixes: Iterable[str], keep_sources: float | None, now: float) -> list[str]:
    """Lease those of the prefixes that are garbage. Takes a fixed number of statements, however many there are.

    A pyramid's row is marked as being deleted. A dataset whose source has been kept long enough forgets it, so that a
    retry downloads it again.

    Parameters
    ----------
    keep_sources: seconds for which a source is kept after its dataset has ended; None: for ever.
    """
    items = {prefix: item for prefix in dict.fromkeys(prefixes) if (item := _read(prefix)) is not None}
    sources = {item for item in items.values() if isinstance(item, _Source)}
    builds = {item for item in items.values() if isinstance(item, _Build)}
    scratch = {item for item in items.values() if isinstance(item, _Scratch)}
    at_work = _at_work(connection, [*(item.build for item in builds), *(item.run_id for item in scratch)])
    unused: set[_Item] = {
        *_unused_sources(connection, sources, keep_sources, now),
        *_unused_builds(connection, {item for item in builds if item.build not in at_work}),
        *_unused_scratch(connection, {item for item in scratch if item.run_id not in at_work}, keep_sources, now),
    }
    return _take(connection, [prefix for prefix, item in items.items() if item in unused], now)


def forget_old(connection: Connection, most: int, now: float) -> int:
    """Forget up to `most` prefixes that were leased long ago and never confirmed. Returns how many.

    They are no longer in storage, so nobody asks about them again.
    """
    old = select(garbage.c.prefix).where(garbage.c.leased_until < now - FORGET_AFTER).limit(most)
    return connection.execute(delete(garbage).where(garbage.c.prefix.in_(old.scalar_subquery()))).rowcount


def unreferenced_builds(connection: Connection, after: str = "") -> tuple[list[str], str]:
    """Builds that count and that no dataset refers to, whether storage still has them or not.

    A janitor finds only what is in storage. A build whose files are missing would count as built for ever.

    Parameters
    ----------
    after: the tile_id after which to begin, as the last call returned it; "": at the first.

    Returns
    -------
    Some of their prefixes, and the tile_id after which the next call continues.
    """
    rows = connection.execute(
        select(pyramids.c.tile_id, pyramids.c.build, pyramids.c.deleting)
        .where(pyramids.c.tile_id > after)
        .order_by(pyramids.c.tile_id)
        .limit(LOOK)
    ).all()
    referred = _referred(connection, [tile_id for tile_id, _, _ in rows])
    found = [
        pyramid_key(tile_id, build) for tile_id, build, deleting in rows if tile_id not in referred and not deleting
    ]
    return found, rows[-1][0] if len(rows) == LOOK else ""


def confirm(connection: Connection, prefix: str) -> None:
    """Forget a prefix that was deleted; of a pyramid, only the row of that very build."""
    connection.execute(delete(garbage).where(garbage.c.prefix == prefix))
    match prefix.strip("/").split("/"):
        case ["pyramids", tile_id, build]:
            connection.execute(
                delete(pyramids).where(pyramids.c.tile_id == tile_id, pyramids.c.build == build, pyramids.c.deleting)
            )


def _read(prefix: str) -> _Item | None:
    """What a prefix stands for; None where this service does not know such prefixes."""
    match prefix.strip("/").split("/"):
        case ["sources", dataset_id, attempt] if attempt.isascii() and attempt.isdecimal():
            return _Source(dataset_id, int(attempt)) if len(attempt) <= MOST_DIGITS else None
        case ["pyramids", tile_id, build]:
            return _Build(tile_id, build)
        case ["scratch", run_id]:
            return _Scratch(run_id)
    return None


def _unused_sources(
    connection: Connection, sources: Collection[_Source], keep_sources: float | None, now: float
) -> set[_Source]:
    """Sources that may be deleted: no row refers to them, or only rows that no longer need them, which forget them."""
    if not sources:
        return set()
    # One query: between two, another service could complete the download.
    rows = connection.execute(
        select(
            datasets.c.dataset_id,
            datasets.c.source_key,
            datasets.c.state,
            datasets.c.attempt,
            datasets.c.finished_at,
        )
        .where(
            or_(
                datasets.c.source_key.in_([source.key for source in sources]),
                datasets.c.dataset_id.in_([source.dataset_id for source in sources]),
            ),
            datasets.c.deleted_at.is_(None),
        )
        .with_for_update()
    ).all()
    kept, arriving, referred = set(), set(), set()
    for dataset_id, key, state, attempt, finished_at in rows:
        referred.add(key)
        if not _outlived(state, finished_at, keep_sources, now):
            kept.add(key)
        if state is State.DOWNLOADING:
            arriving.add((dataset_id, attempt))
    unused = {source for source in sources if source.key not in kept and source not in arriving}
    forgotten = {source.key for source in unused} & referred
    if forgotten:
        connection.execute(update(datasets).where(datasets.c.source_key.in_(forgotten)).values(source_key=None))
    return unused


def _outlived(state: State, finished_at: float | None, keep_sources: float | None, now: float) -> bool:
    if keep_sources is None or finished_at is None or state not in FINAL:
        return False
    return finished_at + keep_sources <= now


def _at_work(connection: Connection, run_ids: Collection[str]) -> set[str]:
    """Those of the runs that are at work.

    A run's row is committed before the run writes anything: an id without a row is of no run of this database.
    """
    if not run_ids:
        return set()
    return set(connection.scalars(select(runs.c.run_id).where(runs.c.run_id.in_(run_ids), runs.c.ended_at.is_(None))))


def _unused_scratch(
    connection: Connection, scratch: Collection[_Scratch], keep_sources: float | None, now: float
) -> set[_Scratch]:
    """Scratch folders that may be deleted: all but those from which a download resumes."""
    if not scratch:
        return set()
    keep = KEEP_PARTS if keep_sources is None else min(KEEP_PARTS, keep_sources)
    downloads = connection.execute(
        select(runs.c.run_id, datasets.c.dataset_id)
        .join(runs, runs.c.dataset_id == datasets.c.dataset_id)
        .where(
            runs.c.run_id.in_([item.run_id for item in scratch]),
            datasets.c.deleted_at.is_(None),
            or_(
                datasets.c.state.in_([State.QUEUED, State.DOWNLOADING]),
                # Whoever submitted it may give a new link.
                and_(
                    datasets.c.state == State.FAILED,
                    datasets.c.error_code == "source_expired",
                    datasets.c.finished_at > now - keep,
                ),
            ),
        )
        .with_for_update(of=datasets)
    ).all()
    # These are few: downloads that wait, are at work or lost their link, and were begun before.
    taken_over = {run_id for run_id, dataset_id in downloads if previous_download(connection, dataset_id) == run_id}
    return {item for item in scratch if item.run_id not in taken_over}


def _unused_builds(connection: Connection, builds: Collection[_Build]) -> set[_Build]:
    """Builds that may be deleted: those that do not count, and those that no dataset refers to. Marks their rows."""
    if not builds:
        return set()
    tile_ids = [item.tile_id for item in builds]
    rows = connection.execute(
        select(pyramids.c.tile_id, pyramids.c.build)
        .where(pyramids.c.tile_id.in_(tile_ids), ~pyramids.c.deleting)
        .with_for_update()
    )
    counting = {_Build(tile_id, build) for tile_id, build in rows}
    # Read after the lock: another service could otherwise find the pyramid built, and refer to it.
    referred = _referred(connection, tile_ids)
    unused = {item for item in builds if item not in counting or item.tile_id not in referred}
    marked = [item.tile_id for item in unused & counting]
    if marked:
        connection.execute(update(pyramids).where(pyramids.c.tile_id.in_(marked)).values(deleting=True))
    return unused


def _referred(connection: Connection, tile_ids: Collection[str]) -> set[str]:
    """Those of the pyramids that a dataset refers to, or that are kept as a version.

    Those of further pages are referred to by that of the first page.
    """
    first = func.coalesce(pyramids.c.first_page, pyramids.c.tile_id)
    refers = exists().where(datasets.c.tile_id == first, datasets.c.deleted_at.is_(None))
    is_version = exists().where(versions.c.tile_id == first)
    wanted = pyramids.c.tile_id.in_(tile_ids)
    return set(connection.scalars(select(pyramids.c.tile_id).where(wanted, refers | is_version)))


def _take(connection: Connection, prefixes: Collection[str], now: float) -> list[str]:
    """Lease those of the prefixes that no other janitor has leased."""
    if not prefixes:
        return []
    values = [{"prefix": prefix, "leased_until": now + LEASE_SECONDS} for prefix in prefixes]
    taken = insert_those_missing(connection, garbage, values)
    rest = [prefix for prefix in prefixes if prefix not in taken]
    if rest:
        # Further ahead than anybody sets it: the wall clock was set back.
        is_free = (garbage.c.leased_until <= now) | (garbage.c.leased_until > now + LEASE_SECONDS)
        taken |= set(
            connection.scalars(
                update(garbage)
                .where(garbage.c.prefix.in_(rest), is_free)
                .values(leased_until=now + LEASE_SECONDS)
                .returning(garbage.c.prefix)
            )
        )
    return [prefix for prefix in prefixes if prefix in taken]
