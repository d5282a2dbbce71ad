"""Which storage belongs to the database: docs/decisions/0016-storage-and-database-know-each-other.md."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, Table, or_, select, update

from pipeline.errors import Conflict
from statussvc.db.repository.insert import insert_once
from statussvc.db.tables import datasets, facts, pyramids

TOKEN = "storage_token"  # noqa: S105  a name, no secret
MADE = "storage_token_made"
"""A token that was made, and has not been seen in a storage yet."""

PROBE = "probe"


class Refused(Exception):
    """Raised when a storage does not belong to this database. Its argument is a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a storage: its token ("" for none), and whether it is empty apart from that."""

    token: str
    empty: bool


def identify(connection: Connection, found: Found, *, adopt: bool) -> str:
    """The token to write into the storage. Raises Refused."""
    known = _get(connection, TOKEN)
    if known and known == found.token:
        return known
    made = _get(connection, MADE)
    if made and made == found.token:
        return _settle(connection, made)
    if adopt:
        return _settle(connection, found.token) if found.token else _make(connection, made)
    if known:
        raise Refused(
            "It belongs to another database." if found.token else "The files that the database refers to are gone."
        )
    if found.token:
        raise Refused("It belongs to another database.")
    if found.empty and _refers(connection):
        raise Refused("The files that the database refers to are gone.")
    if not found.empty and not _has_rows(connection, datasets):
        raise Refused("It has files, and the database is new: they would be deleted as garbage.")
    return _make(connection, made)


def require_token(connection: Connection, token: str) -> None:
    """Raises Conflict where the storage with this token does not belong to the database."""
    known = _get(connection, TOKEN) or _get(connection, MADE)
    if known != token:
        raise Conflict("The storage does not belong to this database, so nothing in it is garbage.")


def probe(connection: Connection, now: float) -> None:
    """Write something, to find out whether the database can be written to."""
    _set(connection, PROBE, str(now))


def _make(connection: Connection, made: str) -> str:
    token = made or uuid.uuid4().hex
    _set(connection, TOKEN, "")
    _set(connection, MADE, token)
    return token


def _settle(connection: Connection, token: str) -> str:
    _set(connection, TOKEN, token)
    _set(connection, MADE, "")
    return token


def _refers(connection: Connection) -> bool:
    wanted = select(datasets.c.seq).where(
        datasets.c.deleted_at.is_(None), or_(datasets.c.source_key.is_not(None), datasets.c.tile_id.is_not(None))
    )
    return connection.execute(wanted.limit(1)).first() is not None or _has_rows(connection, pyramids)


def _has_rows(connection: Connection, table: Table) -> bool:
    return connection.execute(select(*table.primary_key).limit(1)).first() is not None


def _get(connection: Connection, name: str) -> str:
    value: str | None = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    return value or ""


def _set(connection: Connection, name: str, value: str) -> None:
    if not insert_once(connection, facts, name=name, value=value):
        connection.execute(update(facts).where(facts.c.name == name).values(value=value))
