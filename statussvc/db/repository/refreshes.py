"""Refreshes: rows that fetch the source of a dataset again. docs/decisions/0033-a-refresh-is-a-row-of-its-own.md.

handover.py has their end.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from pipeline.errors import Conflict
from pipeline.pyramids import tile_id as tile_id_of
from statussvc.db.repository.ids import free_id
from statussvc.db.repository.transitions import end, first_attempt, is_built, lock, lock_present, run_of
from statussvc.db.rows import DatasetRow, RefreshEnd, StoredSource, fetch_one, refresh_prefix
from statussvc.db.tables import datasets
from statussvc.enums import Answer, Kind, Outcome
from statussvc.lifecycle import State

CANCELLED = "The refresh was cancelled on request."


def begin(connection: Connection, dataset_id: str, now: float, *, force: bool) -> None:
    """Have the source of a ready dataset fetched again, unless that is at work already. Raises NotFound, Conflict.

    Parameters
    ----------
    force: whether a new pyramid is made also if the source has not changed. Also holds for a refresh at work.
    """
    owner = lock_present(connection, dataset_id)
    if owner.refresh_id is not None:
        if force:
            connection.execute(update(datasets).where(datasets.c.dataset_id == owner.refresh_id).values(forced=True))
        return
    if owner.state is not State.READY:
        raise Conflict(f"The dataset is {owner.state.lower()}: only a ready one can be refreshed.")
    refresh_id = free_id(connection, refresh_prefix(dataset_id))
    connection.execute(
        insert(datasets).values(
            dataset_id=refresh_id,
            kind=Kind.REFRESH,
            owner=dataset_id,
            forced=force,
            name="",
            description="",
            category="",
            subject="",
            url=owner.url,
            url_hash=owner.url_hash,
            host_hash=owner.host_hash,
            expected_sha256=owner.expected_sha256,
            tile_size=owner.tile_size,
            tile_format=owner.tile_format,
            tile_quality=owner.tile_quality,
            page=owner.page,
            more_options=owner.more_options,
            **first_attempt(State.QUEUED, now),
        )
    )
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == owner.seq)
        .values(refresh_id=refresh_id, revision=datasets.c.revision + 1)
    )


def drop(connection: Connection, owner: DatasetRow, now: float) -> str | None:
    """End the refresh of a locked dataset, if one is at work. Returns the run to stop, if there is one."""
    if owner.refresh_id is None:
        return None
    refresh = lock(connection, owner.refresh_id)
    run_id = None
    if refresh is not None:
        connection.execute(
            update(datasets)
            .where(datasets.c.seq == refresh.seq)
            .values(deleted_at=now, run_id=None, leased_until=None, held_by=None, revision=refresh.revision + 1)
        )
        run = run_of(connection, refresh.run_id) if refresh.run_id else None
        if run is not None and run.ended_at is None:
            end(connection, run, Outcome.STOPPED, Answer.REFUSED, now)
            run_id = run.run_id
    requested_at = refresh.created_at if refresh is not None else now
    ended = RefreshEnd(requested_at, now, changed=False, code="cancelled", message=CANCELLED)
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == owner.seq)
        .values(refresh_id=None, last_refresh=ended.as_json(), revision=datasets.c.revision + 1)
    )
    return run_id


def to_confirm(connection: Connection, refresh: DatasetRow) -> StoredSource | None:
    """The source of a refresh's owner, if it is enough that its server confirms it; None if the file is wanted.

    It may no longer be stored: then its key is "".
    """
    if refresh.forced or refresh.owner is None:
        return None
    owner = fetch_one(connection, DatasetRow, select(datasets).where(datasets.c.dataset_id == refresh.owner))
    if owner is None or owner.source_sha256 is None or owner.source_bytes is None:
        return None
    is_todays = owner.tile_id == tile_id_of(owner.source_sha256, refresh.options)
    if not is_todays or not is_built(connection, owner.tile_id):
        return None
    etag, modified = owner.source_etag or "", owner.source_modified or ""
    if not (etag or modified) or refresh.expected_sha256 not in ("", owner.source_sha256):
        return None
    return StoredSource(owner.source_key or "", owner.source_sha256, owner.source_bytes, etag, modified)


def is_confirmed(connection: Connection, refresh: DatasetRow, sha256: str) -> bool:
    """Whether a refresh has nothing more to do, its server having confirmed the source with this SHA-256."""
    known = to_confirm(connection, refresh)
    return known is not None and known.sha256 == sha256
