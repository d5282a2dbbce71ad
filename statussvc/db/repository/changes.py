"""Changes of datasets that harvesters read in order: docs/decisions/0035-changes-are-read-in-order.md.

Each is written in the transaction that makes it. One thread makes all writes, so `seq` is the order of the commits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.errors import NotFound
from statussvc.db.rows import ChangeRow, DatasetRow, fetch_all
from statussvc.db.tables import changes
from statussvc.enums import Change

PAGE = 100
"""Changes on a page, as in the specification's example. Never changed: a page's number is an address."""

MOST = 10
"""Changes that are kept of one dataset, so that a client that changes it all the time does not fill the disk."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Numbers of the first and the last page, and one page: its changes in order, and its neighbours that have some.

    Parameters
    ----------
    previous, next: None for no page.
    """

    first: int
    last: int
    changes: Sequence[ChangeRow] = ()
    previous: int | None = None
    next: int | None = None


def shown(connection: Connection, row: DatasetRow) -> None:
    """Write that a dataset became ready, or that its texts or its pyramid changed while it was."""
    if _overtake(connection, row.dataset_id):
        _add(connection, row.dataset_id, Change.UPDATE)
        tenth = (
            select(changes.c.seq)
            .where(changes.c.dataset_id == row.dataset_id)
            .order_by(changes.c.seq.desc())
            .limit(1)
            .offset(MOST - 1)
        )
        connection.execute(
            delete(changes).where(changes.c.dataset_id == row.dataset_id, changes.c.seq < tenth.scalar_subquery())
        )
    else:
        _add(connection, row.dataset_id, Change.CREATE, row.created_at)


def gone(connection: Connection, dataset_id: str) -> None:
    """Write that a dataset was deleted, if harvesters know of it."""
    if _overtake(connection, dataset_id):
        _add(connection, dataset_id, Change.DELETE)


def pages(connection: Connection, number: int | None) -> Pages:
    """Return the numbers of the first and the last page, and a page. Raises NotFound.

    Parameters
    ----------
    number: of the page, from 0; None for none.
    """
    seq = changes.c.seq
    first = connection.scalars(select(seq).order_by(seq).limit(1)).first()
    last = connection.scalars(select(seq).order_by(seq.desc()).limit(1)).first()
    found = Pages(_page(first) or 0, _page(last) or 0)
    if number is None:
        return found
    if not 0 <= number <= found.last:
        raise NotFound(f"There is no page {number} of changes: the last one is {found.last}.")
    begin, end = number * PAGE + 1, (number + 1) * PAGE + 1
    before = connection.scalars(select(seq).where(seq < begin).order_by(seq.desc()).limit(1)).first()
    after = connection.scalars(select(seq).where(seq >= end).order_by(seq).limit(1)).first()
    rows = fetch_all(connection, ChangeRow, select(changes).where(seq >= begin, seq < end).order_by(seq))
    return Pages(found.first, found.last, rows, _page(before), _page(after))


def _page(seq: int | None) -> int | None:
    return None if seq is None else (seq - 1) // PAGE


def _overtake(connection: Connection, dataset_id: str) -> bool:
    """Mark the last change of a dataset as followed by another. Returns whether there was one."""
    last = update(changes).where(changes.c.dataset_id == dataset_id, ~changes.c.overtaken).values(overtaken=True)
    return connection.execute(last).rowcount > 0


def _add(connection: Connection, dataset_id: str, change: Change, began_at: float | None = None) -> None:
    last = connection.scalars(select(changes.c.ended_at).order_by(changes.c.seq.desc()).limit(1)).first()
    # Read here and not when the call arrived: a harvester takes everything before its last visit as known. And never
    # earlier than the change before: harvesters stop at the first one that they know, and the clock may be set back.
    ended_at = max(time.time(), last or 0.0)
    values = {"dataset_id": dataset_id, "change": change, "began_at": began_at, "ended_at": ended_at}
    connection.execute(insert(changes).values(overtaken=False, **values))
