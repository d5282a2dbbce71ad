"""Rows that wait for more than a worker: docs/decisions/0026-what-waits-for-more-than-a-worker-is-held.md.

A held row is QUEUED, and is neither published nor granted. BeginStage holds rows, and LeasePending frees them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Select, func, literal, select, tuple_, update

from pipeline.errors import URL_FAULTS
from pipeline.pyramids import tile_id as tile_id_of
from statussvc.db.repository.reusable import url_hash
from statussvc.db.repository.transitions import is_found, move_row
from statussvc.db.rows import DatasetRow, Facts, Failure, StoredSource, fetch_all
from statussvc.db.tables import HOST, IN_INGEST, datasets
from statussvc.lifecycle import Event, State

MOST_HELD = 1000
"""Rows held at once. Further rows of a URL are held when they are begun."""

MOST_LOOKED_AT = 100
"""Rows to look at for one that has begun before: it is older than most."""

MOST_FREED = 100
"""Rows that one call frees: each takes a few statements."""

MOST_HOLDERS = 20
"""Ended holders that one call deals with. The next call comes within a second."""

MOST_LOOKED_UP = 500
"""Holders that one call looks at. The next call goes on with the next ones."""

_PRESENT = datasets.c.deleted_at.is_(None)
_HELD_BY_DATASET = (_PRESENT, datasets.c.held_by.is_not(None), datasets.c.held_by < HOST)


@dataclass(frozen=True, slots=True)
class Holder:
    """A dataset whose download others wait for, and the SHA-256 that it asks for, if any."""

    dataset_id: str
    sha256: str


def holder(connection: Connection, url: str, sha256: str, row: DatasetRow | None = None) -> Holder | None:
    """The dataset that downloads a URL or is about to go on with it, other than the row's own; None for none.

    Parameters
    ----------
    sha256: what the row asks for, or "". It does not wait for a download that fails for bytes that it would take.
    row: the row that is to be begun; None for a new one.
    """
    accepted = ["", sha256]
    others = () if row is None else (datasets.c.seq != row.seq,)
    # Without IN_INGEST, so that SQLite finds them by URL and state. With it, it goes through all rows that wait.
    downloading = _of_url(url, datasets.c.dataset_id, datasets.c.expected_sha256).where(
        datasets.c.state == State.DOWNLOADING, datasets.c.expected_sha256.in_(accepted), *others
    )
    at_work = connection.execute(downloading.limit(1)).first()
    if at_work is not None:
        return Holder(*at_work)
    columns = [datasets.c[name] for name in ("dataset_id", "expected_sha256", "attempt", "queued_at", "seq")]
    queued = _unheld(url, *columns).where(datasets.c.state == State.QUEUED, *others)
    oldest = queued.order_by(datasets.c.seq).limit(MOST_LOOKED_AT).subquery()
    begun_before = (
        select(oldest.c.dataset_id, oldest.c.expected_sha256)
        .where(oldest.c.attempt > 1, oldest.c.expected_sha256.in_(accepted))
        .order_by(oldest.c.queued_at, oldest.c.seq)
        .limit(1)
    )
    if row is not None and row.attempt > 1:
        # Of several that have begun before, the one that has waited longest goes first.
        begun_before = begun_before.where(tuple_(oldest.c.queued_at, oldest.c.seq) < (row.queued_at, row.seq))
    found = connection.execute(begun_before).first()
    return None if found is None else Holder(*found)


def hold_same_url(connection: Connection, url: str, by: Holder) -> list[str]:
    """Hold the rows that wait to download a URL and would take what the holder does. Returns their ids."""
    columns = (datasets.c.seq, datasets.c.expected_sha256)
    waiting = _unheld(url, *columns).where(datasets.c.state == State.QUEUED, datasets.c.dataset_id != by.dataset_id)
    oldest = waiting.order_by(datasets.c.seq).limit(MOST_HELD).subquery()
    alike = [oldest.c.expected_sha256 == by.sha256] if by.sha256 else []
    return _hold(connection, select(oldest.c.seq).where(*alike), by.dataset_id)


def hold_one(connection: Connection, row: DatasetRow, by: str) -> list[str]:
    """Hold one row. Returns its id."""
    return _hold(connection, select(datasets.c.seq).where(datasets.c.seq == row.seq), by)


def settle(connection: Connection, now: float, after: str = "") -> tuple[list[str], str]:
    """Free rows whose holder has ended its download, whichever way.

    Returns the ids of rows that changed, and the holder after which the next call continues: "" to begin anew.

    Parameters
    ----------
    after: what the call before returned.
    """
    changed: list[str] = []
    holders = _holders(connection, after)
    going = _going(connection, holders)
    ended = [dataset_id for dataset_id in holders if dataset_id not in going]
    rows = _rows(connection, ended[:MOST_HOLDERS])
    last = after
    for dataset_id in holders:
        if len(changed) >= MOST_FREED or dataset_id in ended[MOST_HOLDERS:]:
            return changed, last
        if dataset_id not in going:
            held = _held_by(connection, dataset_id, MOST_FREED)
            changed += _settle_one(connection, rows.get(dataset_id), held, now)
            if len(held) == MOST_FREED:
                return changed, last
        last = dataset_id
    return changed, last if len(holders) == MOST_LOOKED_UP else ""


def _settle_one(
    connection: Connection, ended: DatasetRow | None, held: Collection[DatasetRow], now: float
) -> list[str]:
    """Free rows of a holder that has ended its download, or does not exist any more. Returns the ids that changed."""
    if not held:
        return []
    # The holder's URL may have been changed meanwhile.
    same = [row for row in held if ended is not None and ended.url == row.url]
    source = ended.stored_source if ended is not None and ended.deleted_at is None else None
    if same and source is not None and ended is not None:
        return _use(connection, same, source, Facts(rewritten=ended.facts.rewritten), now)
    if same and ended is not None and _is_fault_of_url(ended):
        return _fail(connection, same, ended.failure, now)
    return _take_over(connection, held)


def leave(connection: Connection, dataset_id: str) -> None:
    """Have one of the rows that a dataset holds download their URL: the dataset's own has just been changed.

    Not left to `settle`: the dataset may go on for days, and will also hold rows of its new URL.
    """
    while held := _held_by(connection, dataset_id, MOST_FREED):
        _take_over(connection, held)


def _of_url(url: str, *columns: Column[Any]) -> Select[*tuple[Any, ...]]:
    """Rows of a URL that are not held."""
    return select(*columns).where(
        datasets.c.url_hash == url_hash(url), datasets.c.held_by.is_(None), _PRESENT, datasets.c.url == url
    )


def _unheld(url: str, *columns: Column[Any]) -> Select[*tuple[Any, ...]]:
    """Rows of a URL that wait for a download or are at it, and are not held."""
    return _of_url(url, *columns).where(IN_INGEST)


def _hold(connection: Connection, seqs: Select[*tuple[Any, ...]], by: str) -> list[str]:
    return list(
        connection.scalars(
            update(datasets)
            .where(datasets.c.seq.in_(seqs.scalar_subquery()))
            .values(held_by=by, published_at=None, leased_until=None, revision=datasets.c.revision + 1)
            .returning(datasets.c.dataset_id)
        )
    )


def _holders(connection: Connection, after: str) -> list[str]:
    """Up to MOST_LOOKED_UP datasets that hold rows, in the order of their ids, after one of them."""
    # Jumps from holder to holder in the index, however many rows each holds.
    first = (
        select(func.min(datasets.c.held_by).label("held_by"), literal(1).label("number"))
        .where(*_HELD_BY_DATASET, datasets.c.held_by > after)
        .cte(recursive=True)
    )
    following = (
        select(func.min(datasets.c.held_by))
        .where(*_HELD_BY_DATASET, datasets.c.held_by > first.c.held_by)
        .scalar_subquery()
    )
    holders = first.union_all(
        select(following, first.c.number + 1).where(first.c.held_by.is_not(None), first.c.number < MOST_LOOKED_UP)
    )
    return list(connection.scalars(select(holders.c.held_by).where(holders.c.held_by.is_not(None))))


def _going(connection: Connection, dataset_ids: Collection[str]) -> set[str]:
    """Those of the datasets that download, or wait for it."""
    if not dataset_ids:
        return set()
    # The state is not asked for, or SQLite would go through all rows that wait.
    query = select(datasets.c.dataset_id, datasets.c.state, datasets.c.deleted_at)
    found = connection.execute(query.where(datasets.c.dataset_id.in_(dataset_ids)))
    return {
        dataset_id
        for dataset_id, state, deleted_at in found
        if deleted_at is None and state in (State.QUEUED, State.DOWNLOADING)
    }


def _rows(connection: Connection, dataset_ids: Collection[str]) -> dict[str, DatasetRow]:
    if not dataset_ids:
        return {}
    rows = fetch_all(connection, DatasetRow, select(datasets).where(datasets.c.dataset_id.in_(dataset_ids)))
    return {row.dataset_id: row for row in rows}


def _held_by(connection: Connection, dataset_id: str, most: int) -> list[DatasetRow]:
    query = select(datasets).where(datasets.c.held_by == dataset_id, _PRESENT).order_by(datasets.c.seq).limit(most)
    return fetch_all(connection, DatasetRow, query.with_for_update())


def _use(
    connection: Connection, held: Collection[DatasetRow], source: StoredSource, link: Facts, now: float
) -> list[str]:
    """Have rows use a source that another has downloaded. Those that ask for other bytes download their own.

    Parameters
    ----------
    link: what the other's link was rewritten to.
    """
    others = [row for row in held if row.expected_sha256 not in ("", source.sha256)]
    _free(connection, others)
    for row in held:
        if row in others:
            continue
        tile_id = tile_id_of(source.sha256, row.options)
        event = Event.FOUND if is_found(connection, row, tile_id) else Event.SHARED
        values = {
            "source_key": source.key,
            "source_sha256": source.sha256,
            "source_bytes": source.size,
            "source_etag": source.etag,
            "source_modified": source.modified,
            "tile_id": tile_id,
            **link.columns(),
        }
        move_row(connection, row, event, now, **values)
    return [row.dataset_id for row in held]


def _is_fault_of_url(holder: DatasetRow) -> bool:
    is_failed = holder.state is State.FAILED and holder.deleted_at is None
    return is_failed and holder.failure is not None and holder.failure.code in URL_FAULTS


def _fail(connection: Connection, held: Collection[DatasetRow], failure: Failure | None, now: float) -> list[str]:
    for row in held:
        move_row(connection, row, Event.FAIL, now, **(failure.columns() if failure is not None else {}))
    return [row.dataset_id for row in held]


def _take_over(connection: Connection, held: Collection[DatasetRow]) -> list[str]:
    """Have one of the rows download the URL, unless another one does already, and hold the rest by that one.

    It is the one that has waited longest, since it was submitted or retried, of those that take any bytes. If all ask
    for certain ones, none waits for another's sake.
    """
    takers = [row for row in held if not row.expected_sha256]
    if not takers:
        return _free(connection, held)
    first = min(takers, key=lambda row: (row.queued_at, row.seq))
    already = _unheld(first.url, datasets.c.dataset_id).where(datasets.c.expected_sha256 == "")
    by = connection.scalars(already.order_by(datasets.c.state, datasets.c.seq).limit(1)).first()
    changed = []
    if by is None:
        by = first.dataset_id
        changed += _free(connection, [first])
    rest = (
        select(datasets.c.seq)
        .where(
            datasets.c.held_by == first.held_by,
            _PRESENT,
            datasets.c.dataset_id != by,
            datasets.c.url == first.url,
        )
        .order_by(datasets.c.seq)
        .limit(MOST_HELD)
    )
    return changed + _hold(connection, rest, str(by))


def _free(connection: Connection, rows: Collection[DatasetRow]) -> list[str]:
    """Have rows wait for a worker again, as another attempt."""
    connection.execute(
        update(datasets)
        .where(datasets.c.seq.in_([row.seq for row in rows]))
        .values(
            held_by=None,
            held_places=None,
            published_at=None,
            leased_until=None,
            # Otherwise a late confirm of the message that came before the hold would count for the next one.
            attempt=datasets.c.attempt + 1,
            revision=datasets.c.revision + 1,
        )
    )
    return [row.dataset_id for row in rows]
