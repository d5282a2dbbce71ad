"""Ids of new rows."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, exists, select

from statussvc.db.tables import datasets, former_ids


def free_id(connection: Connection, prefix: str) -> str:
    """An id that no row has, and that no dataset ever had; ids of inspections and refreshes may be used again.

    Eight hex digits, as in the contract's example; more where such an id is taken.
    """
    for size in (4, 6, 8):
        dataset_id = f"{prefix}{secrets.token_hex(size)}"
        if not connection.scalar(
            select(
                exists().where(datasets.c.dataset_id == dataset_id)
                | exists().where(former_ids.c.dataset_id == dataset_id)
            )
        ):
            break
    return dataset_id
