"""The end of a refresh: what it made becomes its owner's, in the transaction that ends it.

See docs/decisions/0033-a-refresh-is-a-row-of-its-own.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from sqlalchemy import Connection, select, update

from pipeline.pyramids import tile_id as tile_id_of
from statussvc.db.repository import versions
from statussvc.db.rows import DatasetRow, PyramidRow, RefreshEnd, fetch_one
from statussvc.db.tables import datasets, pyramids
from statussvc.lifecycle import Event, State

SOURCE_COLUMNS = ("source_key", "source_sha256", "source_bytes", "source_etag", "source_modified")

HEADER_COLUMNS = ("source_format", "source_width", "source_height", "source_pages")
"""What a run may find in the source's header: small files are not probed."""

LINK_COLUMNS = ("rewritten_rule", "rewritten_url", "rewritten_note")
"""What a download may find out about the link."""


class Move(Protocol):
    """Moves a row to the state after an event, and sets columns."""

    def __call__(self, row: DatasetRow, event: Event, **values: object) -> None: ...


def fall_back(
    connection: Connection, refresh: DatasetRow, failure: Mapping[str, object], now: float
) -> dict[str, object]:
    """Return columns for going on with the owner's stored original, as the source could not be fetched.

    Returns {} if that would make no other pyramid, or is not possible.

    Parameters
    ----------
    failure: the columns of the failure.
    """
    owner = _owner(connection, refresh)
    if refresh.state not in (State.QUEUED, State.DOWNLOADING) or refresh.last_refresh or owner is None:
        return {}
    source = owner.stored_source
    if source is None or refresh.expected_sha256 not in ("", source.sha256):
        return {}
    tile_id = tile_id_of(source.sha256, refresh.options)
    if tile_id == owner.tile_id and not refresh.forced:
        return {}
    code, message = failure.get("error_code") or "", failure.get("error_message") or ""
    end = RefreshEnd(refresh.created_at, now, changed=False, code=str(code), message=str(message))
    return {**_columns(owner, SOURCE_COLUMNS), "tile_id": tile_id, "last_refresh": end.as_json()}


def settle(connection: Connection, refresh: DatasetRow, now: float, move: Move) -> None:
    """Give a refresh that has ended to its owner, and hide it. The owner is left alone if it was deleted meanwhile.

    Parameters
    ----------
    refresh: the row as it is after its last move.
    """
    connection.execute(update(datasets).where(datasets.c.seq == refresh.seq).values(deleted_at=now))
    owner = _owner(connection, refresh)
    if owner is None:
        return
    pyramid = _pyramid(connection, refresh.tile_id) if refresh.state is State.READY else None
    is_new = pyramid is not None and (owner.tile_id != pyramid.tile_id or pyramid.created_at >= refresh.created_at)
    failed = refresh.failure if refresh.state is not State.READY else None
    earlier = refresh.refreshed
    code, message = (
        (failed.code, failed.message) if failed else (earlier.code, earlier.message) if earlier else ("", "")
    )
    end = RefreshEnd(refresh.created_at, now, changed=is_new, code=code, message=message)
    values: dict[str, object] = {"refresh_id": None, "last_refresh": end.as_json()}
    if refresh.state is State.READY and refresh.source_key is not None:
        # Also if it has not changed: its validators may have, or the original was no longer stored.
        values |= _columns(refresh, SOURCE_COLUMNS)
        if not refresh.last_refresh:
            values |= _columns(refresh, LINK_COLUMNS)
    if pyramid is not None and (is_new or owner.state is not State.READY):
        if owner.tile_id != pyramid.tile_id:
            versions.replace(connection, owner, pyramid.tile_id, now)
        if is_new or refresh.source_format is not None:
            values |= _columns(refresh, HEADER_COLUMNS)
        move(owner, Event.REFRESHED, **values, tile_id=pyramid.tile_id)
        return
    connection.execute(
        update(datasets).where(datasets.c.seq == owner.seq).values(**values, revision=datasets.c.revision + 1)
    )


def _owner(connection: Connection, refresh: DatasetRow) -> DatasetRow | None:
    """The dataset that a refresh is for, locked; None if it no longer waits for it."""
    return fetch_one(
        connection,
        DatasetRow,
        select(datasets)
        .where(
            datasets.c.dataset_id == refresh.owner,
            datasets.c.deleted_at.is_(None),
            datasets.c.refresh_id == refresh.dataset_id,
        )
        .with_for_update(),
    )


def _pyramid(connection: Connection, tile_id: str | None) -> PyramidRow | None:
    # Neither deleted nor lost, or the refresh would not be READY, unless it only confirmed the source.
    usable = (pyramids.c.tile_id == tile_id) & ~pyramids.c.deleting & ~pyramids.c.lost
    return fetch_one(connection, PyramidRow, select(pyramids).where(usable))


def _columns(row: DatasetRow, names: Iterable[str]) -> dict[str, object]:
    return {name: getattr(row, name) for name in names}
