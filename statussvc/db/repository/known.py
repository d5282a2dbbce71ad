"""What an ingest run may build on: a finished download of the same URL, and what its own forerunner finished."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from statussvc.db.repository.moves import has
from statussvc.db.tables import datasets, runs
from statussvc.lifecycle import Stage, State


def url_hash(url: str) -> str:
    """What finds a URL: a hash, since an index of PostgreSQL holds no text of more than 2,704 bytes."""
    return hashlib.sha256(url.encode()).hexdigest()


def finished_download(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    """The newest stored download of the row's URL that has a validator and made a pyramid."""
    return connection.execute(
        select(datasets)
        .where(
            datasets.c.url_hash == url_hash(row.url),
            datasets.c.url == row.url,
            datasets.c.dataset_id != row.dataset_id,
            has(datasets.c.state, State.READY),
            datasets.c.deleted_at.is_(None),
            datasets.c.source_key.is_not(None),
            or_(datasets.c.source_etag != "", datasets.c.source_modified != ""),
        )
        .order_by(datasets.c.seq.desc())
        .limit(1)
    ).one_or_none()


def forerunner(connection: Connection, dataset_id: str) -> str | None:
    """The last ended ingest run of a dataset: what it finished lies in its scratch."""
    return connection.scalars(
        select(runs.c.run_id)
        .where(runs.c.dataset_id == dataset_id, has(runs.c.stage, Stage.INGEST), runs.c.ended_at.is_not(None))
        .order_by(runs.c.attempt.desc())
        .limit(1)
    ).one_or_none()
