"""What an ingest run can reuse: a finished download of the same URL, and the parts that an earlier run downloaded."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, or_, select

from statussvc.db.repository.transitions import has
from statussvc.db.rows import DatasetRow, StoredSource, fetch_one
from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import Stage, State

MOST_LOOKED_AT = 100
"""Datasets of a URL to look at for a finished download: a server without validators may have a hundred thousand."""


def url_hash(url: str) -> str:
    """What a URL is indexed by: an index of PostgreSQL holds no text of more than 2,704 bytes."""
    return hashlib.sha256(url.encode()).hexdigest()


def finished_download(connection: Connection, row: DatasetRow) -> StoredSource | None:
    """The newest stored source of another dataset that has the same URL and a validator, and is ready."""
    ready = (
        select(datasets.c.seq)
        .where(datasets.c.url_hash == url_hash(row.url), datasets.c.state == State.READY)
        .order_by(datasets.c.seq.desc())
        .limit(MOST_LOOKED_AT)
    )
    newest = fetch_one(
        connection,
        DatasetRow,
        select(datasets)
        .where(
            datasets.c.seq.in_(ready.scalar_subquery()),
            datasets.c.url == row.url,
            datasets.c.dataset_id != row.dataset_id,
            datasets.c.deleted_at.is_(None),
            datasets.c.source_key.is_not(None),
            or_(datasets.c.source_etag != "", datasets.c.source_modified != ""),
        )
        .order_by(datasets.c.seq.desc())
        .limit(1),
    )
    return None if newest is None else newest.stored_source


def previous_download(connection: Connection, dataset_id: str) -> str | None:
    """The last ingest run of a dataset that has ended: what it downloaded is in its scratch folder."""
    return connection.scalars(
        select(runs.c.run_id)
        .where(runs.c.dataset_id == dataset_id, has(runs.c.stage, Stage.INGEST), runs.c.ended_at.is_not(None))
        .order_by(runs.c.attempt.desc())
        .limit(1)
    ).one_or_none()
