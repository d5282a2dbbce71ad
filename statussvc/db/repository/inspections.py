"""Inspections: rows with the one stage INSPECT, under the same rules as datasets, forgotten after a day."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert, select

from pipeline.errors import NotFound
from statussvc.db.repository.catalogue import free_id
from statussvc.db.repository.turns import host_hash
from statussvc.db.tables import datasets
from statussvc.enums import Kind, TileFormat
from statussvc.lifecycle import State

KEEP_SECONDS = 86400.0
"""How long an inspection is kept: a source may be another one tomorrow."""


def create(connection: Connection, url: str, now: float) -> Row[Any]:
    """Inserts an inspection in REQUESTED."""
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
            state=State.REQUESTED,
            attempt=1,
            crashes=0,
            retries=0,
            revision=1,
            created_at=now,
            queued_at=now,
        )
    )
    return get(connection, inspection_id, now)


def get(connection: Connection, inspection_id: str, now: float) -> Row[Any]:
    """One inspection. Raises NotFound, also where it is too old to be told and has not been purged yet."""
    row = connection.execute(
        select(datasets).where(
            datasets.c.dataset_id == inspection_id,
            datasets.c.kind == Kind.INSPECTION,
            (datasets.c.created_at >= now - KEEP_SECONDS) | (datasets.c.state == State.INSPECTING),
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no inspection {inspection_id}.")
    return row
