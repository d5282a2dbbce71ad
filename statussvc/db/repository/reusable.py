"""What a dataset can reuse: a finished download of the same URL, and the parts that an earlier run downloaded.

A file of the same URL is used in three ways:

- while it is downloaded: holds.holder
- while its dataset is not ready, or for some seconds: fresh_download, without asking the server
- as long as it is stored: finished_download, if the server says that the file has not changed
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, or_, select

from statussvc.db.repository.transitions import has
from statussvc.db.rows import DatasetRow, StoredSource, fetch_all, fetch_one
from statussvc.db.tables import datasets, runs
from statussvc.enums import Kind, Outcome
from statussvc.lifecycle import Stage, State

MOST_LOOKED_AT = 100
"""Datasets of a URL to look at for a finished download: a server without validators may have a hundred thousand."""

UNFINISHED_SECONDS = 86400.0
"""Seconds after its download for which a file is used without asking, while its dataset is not ready: a day. Tiling
takes hours at most, but the tilers may be down."""

MOST_FILES = 5
"""Different files of a URL to look at. Mostly all of its datasets share one."""


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


def fresh_download(
    connection: Connection, url: str, expected_sha256: str, seconds: float, now: float, row: DatasetRow | None = None
) -> DatasetRow | None:
    """Another dataset of a URL whose stored source may be used without asking the server; None if there is none.

    Either that dataset is not ready, and its download ended within UNFINISHED_SECONDS, or it is ready, and its download
    ended within `seconds`. A row that is tried again uses only a file whose download ended since: whoever retries may
    have replaced the file. So does a refresh.

    Parameters
    ----------
    row: the row that is to be begun; None for a new one.
    """
    within = {State.TILING: UNFINISHED_SECONDS, State.DOWNLOADED: UNFINISHED_SECONDS, State.READY: seconds}
    for state, longest in within.items():
        for other in _newest_files(connection, url, state) if longest > 0 else ():
            source = other.stored_source
            ended = _downloaded_at(connection, source.key) if source is not None else None
            if source is None or ended is None or not 0.0 <= now - ended <= longest:
                continue
            is_wanted = expected_sha256 in ("", source.sha256)
            may_be_old = row is None or (row.attempt == 1 and row.kind is not Kind.REFRESH)
            if is_wanted and (may_be_old or (row is not None and row.queued_at <= ended)):
                return other
    return None


def _newest_files(connection: Connection, url: str, state: State) -> list[DatasetRow]:
    """A dataset for each stored file of a URL whose datasets are in a state, the newest first."""
    newest = (
        select(datasets.c.seq)
        .where(datasets.c.url_hash == url_hash(url), datasets.c.state == state)
        .order_by(datasets.c.seq.desc())
        .limit(MOST_LOOKED_AT)
    )
    rows = fetch_all(
        connection,
        DatasetRow,
        select(datasets)
        .where(
            datasets.c.seq.in_(newest.scalar_subquery()),
            datasets.c.url == url,
            datasets.c.deleted_at.is_(None),
            datasets.c.source_key.is_not(None),
        )
        .order_by(datasets.c.seq.desc()),
    )
    return list({row.source_key: row for row in reversed(rows)}.values())[: -MOST_FILES - 1 : -1]


def _downloaded_at(connection: Connection, key: str) -> float | None:
    """When the download of a stored source ended; None if that is no longer known."""
    _, dataset_id, attempt = key.split("/")
    return connection.scalars(
        select(runs.c.ended_at).where(
            runs.c.dataset_id == dataset_id,
            runs.c.attempt == int(attempt),
            has(runs.c.stage, Stage.INGEST),
            runs.c.outcome == Outcome.COMPLETED,
        )
    ).one_or_none()


def previous_download(connection: Connection, dataset_id: str) -> str | None:
    """The last ingest run of a dataset that has ended: what it downloaded is in its scratch folder."""
    return connection.scalars(
        select(runs.c.run_id)
        .where(runs.c.dataset_id == dataset_id, has(runs.c.stage, Stage.INGEST), runs.c.ended_at.is_not(None))
        .order_by(runs.c.attempt.desc())
        .limit(1)
    ).one_or_none()
