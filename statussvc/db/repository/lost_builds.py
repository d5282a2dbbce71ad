"""Builds whose files are missing in storage: docs/decisions/0017-lost-pyramids-are-made-again.md."""

from __future__ import annotations

from sqlalchemy import Connection, exists, func, select, update

from pipeline.pyramids import tile_id as tile_id_of
from statussvc.db.repository.transitions import has, wait_again
from statussvc.db.rows import DatasetRow, fetch_one
from statussvc.db.tables import datasets, pyramids
from statussvc.lifecycle import FINAL, Event, State

SETTLED = 60.0
"""Seconds after which every host of a network file system sees a new build."""

_IS_READY = has(datasets.c.state, State.READY)

_FIRST = func.coalesce(pyramids.c.first_page, pyramids.c.tile_id)
"""What datasets that show a pyramid refer to: that of page 0 for those of further pages."""

_SHOWN = exists().where(datasets.c.tile_id == _FIRST, _IS_READY, datasets.c.deleted_at.is_(None))


def builds(connection: Connection, after: str, size: int, now: float) -> tuple[list[tuple[str, str]], str]:
    """Builds that ready datasets show, ordered by tile_id.

    Parameters
    ----------
    after: the tile_id after which to begin.
    size: how many builds to look at.

    Returns
    -------
    The tile_id and build of those old enough, and the tile_id after which the next page begins; "" at the end.
    """
    tile_ids = connection.scalars(
        select(pyramids.c.tile_id).where(pyramids.c.tile_id > after).order_by(pyramids.c.tile_id).limit(size)
    ).all()
    rows = connection.execute(
        select(pyramids.c.tile_id, pyramids.c.build)
        .where(pyramids.c.tile_id.in_(tile_ids), ~pyramids.c.deleting, pyramids.c.created_at < now - SETTLED, _SHOWN)
        .order_by(pyramids.c.tile_id)
    )
    return [(tile_id, build) for tile_id, build in rows], tile_ids[-1] if len(tile_ids) == size else ""


def report(connection: Connection, tile_id: str, build: str, now: float) -> str:
    """Mark the build that counts as lost, and have one dataset that shows it build it again.

    A build of an earlier PYRAMID_VERSION is replaced by one of today's under another tile_id: tiles may be cached for
    ever, so an address must never show other pixels.

    Returns
    -------
    The dataset's id; "" where none has to rebuild it, or none can.
    """
    counts = (
        (pyramids.c.tile_id == tile_id)
        & (pyramids.c.build == build)
        & ~pyramids.c.deleting
        & (pyramids.c.created_at < now - SETTLED)
    )
    first = connection.scalars(select(_FIRST).where(counts).with_for_update()).first()
    if first is None:
        return ""
    connection.execute(update(pyramids).where(counts).values(lost=True))
    wanted = (datasets.c.tile_id == first) & datasets.c.deleted_at.is_(None)
    at_work = select(datasets.c.seq).where(wanted, datasets.c.state.not_in(list(FINAL))).limit(1)
    if connection.execute(at_work).first() is not None:
        return ""
    row = fetch_one(
        connection,
        DatasetRow,
        select(datasets)
        .where(wanted, _IS_READY)
        # One that needs no download, if there is one.
        .order_by(datasets.c.source_key.is_(None), datasets.c.seq.desc())
        .limit(1)
        .with_for_update(),
    )
    if row is None or row.source_sha256 is None:
        return ""
    event = Event.REBUILD_WITH_SOURCE if row.source_key else Event.REBUILD_FROM_START
    todays = tile_id_of(row.source_sha256, row.options)
    wait_again(
        connection, row, event, now, crashes=0, retries=0, refusals=0, waited=0.0, finished_at=None, tile_id=todays
    )
    return row.dataset_id
