"""The epoch of the service that has the database. It fences off a service that lost it without knowing it yet."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from statussvc.db.tables import claim

NAME = "statussvc"
"""The name of the table's only row."""


def begin(connection: Connection) -> int:
    """Begin a new epoch, after all transactions of the last one have ended. Returns it."""
    raised = connection.execute(update(claim).where(claim.c.name == NAME).values(epoch=claim.c.epoch + 1))
    if not raised.rowcount:
        connection.execute(insert(claim).values(name=NAME, epoch=1))
    return current(connection)


def current(connection: Connection) -> int:
    """The current epoch. It cannot change until this transaction ends."""
    query = select(claim.c.epoch).where(claim.c.name == NAME).with_for_update(read=True)
    return int(connection.execute(query).scalar_one())
