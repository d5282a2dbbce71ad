"""INSERT … ON CONFLICT DO NOTHING, for both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_once(connection: Connection, table: Table, **values: Any) -> bool:
    """Inserts a row unless its primary key is taken. Returns whether it was inserted."""
    return bool(insert_those_missing(connection, table, [values]))


def insert_those_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Inserts the rows whose primary key, of one column, is not taken. Returns the keys of those."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(list(rows)).on_conflict_do_nothing()
    return set(connection.scalars(statement.returning(*table.primary_key)))
