"""The epoch of the service that has the database: what fences off one that has lost it and does not know it yet."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from statussvc.db.tables import claim

NAME = "statussvc"
"""Of the table's one row."""


def begin(connection: Connection) -> int:
    """Begins a new epoch, once the transactions of the one before have ended; gives it."""
    raised = connection.execute(update(claim).where(claim.c.name == NAME).values(epoch=claim.c.epoch + 1))
    if not raised.rowcount:
        connection.execute(insert(claim).values(name=NAME, epoch=1))
    return present(connection)


def present(connection: Connection) -> int:
    """Gives the present epoch, which stays the present one until this transaction's end."""
    query = select(claim.c.epoch).where(claim.c.name == NAME).with_for_update(read=True)
    return int(connection.execute(query).scalar_one())
