"""INSERT … ON CONFLICT DO NOTHING, for both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_once(connection: Connection, table: Table, **values: object) -> bool:
    """Insert a row unless its primary key exists. Returns whether it was inserted."""
    return bool(insert_those_missing(connection, table, [values]))


def insert_those_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> set[str]:
    """Insert the rows whose primary key does not exist. Returns their keys, which must be one column of text."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(list(rows)).on_conflict_do_nothing()
    return set(connection.scalars(statement.returning(*table.primary_key)))
