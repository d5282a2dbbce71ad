"""The URL of a dataset's source: its columns, and how it may change."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from sqlalchemy import Connection, update

from pipeline.errors import Conflict
from statussvc.db.repository import holds, refreshes
from statussvc.db.repository.reusable import url_hash
from statussvc.db.repository.transitions import NO_FAILURE, NO_REWRITTEN
from statussvc.db.repository.turns import host_hash
from statussvc.db.rows import DatasetRow, SourceInfo
from statussvc.db.tables import datasets
from statussvc.lifecycle import State

NO_SOURCE_INFO: Final[dict[str, None]] = {f"source_{field.name}": None for field in fields(SourceInfo)}
"""What was found in the header of the old URL's file. The next run may find nothing: small files are not probed."""

MOVABLE = frozenset({State.QUEUED, State.FAILED, State.CANCELLED})
"""States in which a URL may change: no run is at work on it, and no pyramid was made of it."""


def address(url: str) -> dict[str, str | None]:
    """The columns of a URL."""
    return {"url": url, "url_hash": url_hash(url), "host_hash": host_hash(url), **NO_REWRITTEN}


def change(connection: Connection, row: DatasetRow, url: str, now: float) -> None:
    """Change the URL of a locked dataset. A source that is stored already is not used any more.

    A dataset that waits for another try is due at once. A refresh of the old URL ends. Raises Conflict.
    """
    if url == row.url:
        return
    if row.state not in MOVABLE:
        raise Conflict(
            f"The dataset is {row.state.lower()}: its source's URL can be changed while it is queued, or after it has "
            "failed or was cancelled."
        )
    refreshes.drop(connection, row, now)
    due = {
        "held_by": None,
        "held_places": None,
        # A late confirm of the message that came before a hold must not count for the next one.
        "attempt": row.attempt + (row.held_by is not None),
        "published_at": None,
        "leased_until": None,
        "not_before": None,
        **NO_FAILURE,
    }
    connection.execute(
        update(datasets)
        .where(datasets.c.seq == row.seq)
        .values(**{"source_key": None, **NO_SOURCE_INFO, **address(url), **(due if row.state is State.QUEUED else {})})
    )
    holds.leave(connection, row.dataset_id)
