"""Inspections: rows with the one stage INSPECT, under the same rules as datasets, kept for a day."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from pipeline.errors import NotFound
from statussvc.db.repository.ids import free_id
from statussvc.db.repository.transitions import first_attempt
from statussvc.db.repository.turns import host_hash
from statussvc.db.rows import DatasetRow, fetch_one
from statussvc.db.tables import datasets
from statussvc.enums import Kind, TileFormat
from statussvc.lifecycle import State

KEEP_SECONDS = 86400.0
"""Seconds for which an inspection is kept: the source may have changed by tomorrow."""


def create(connection: Connection, url: str, options: str, now: float) -> DatasetRow:
    """Insert an inspection in REQUESTED, with options as `catalogue.NewDataset.more_options` has them."""
    inspection_id = free_id(connection, "inspect_")
    connection.execute(
        insert(datasets).values(
            dataset_id=inspection_id,
            kind=Kind.INSPECTION,
            name="",
            description="",
            category="",
            subject="",
            url=url,
            host_hash=host_hash(url),
            expected_sha256="",
            tile_size=0,
            tile_format=TileFormat.UNSPECIFIED,
            tile_quality=0,
            page=0,
            more_options=options,
            **first_attempt(State.REQUESTED, now),
        )
    )
    return get(connection, inspection_id, now)


def get(connection: Connection, inspection_id: str, now: float) -> DatasetRow:
    """One inspection. Raises NotFound, also where it is too old and only not purged yet."""
    row = fetch_one(
        connection,
        DatasetRow,
        select(datasets).where(
            datasets.c.dataset_id == inspection_id,
            datasets.c.kind == Kind.INSPECTION,
            (datasets.c.created_at >= now - KEEP_SECONDS) | (datasets.c.state == State.INSPECTING),
        ),
    )
    if row is None:
        raise NotFound(f"There is no inspection {inspection_id}.")
    return row
