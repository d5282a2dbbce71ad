"""Builds whose files are gone from storage: docs/decisions/0017-lost-pyramids-are-made-again.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, exists, select, update

from pipeline.pyramids import Options
from pipeline.pyramids import tile_id as tile_id_of
from statussvc.db.repository.moves import has, wait_again
from statussvc.db.tables import datasets, pyramids
from statussvc.lifecycle import FINAL, Event, State

SETTLED = 60.0
"""Seconds after which a build is seen by every host of a network file system."""

_IS_READY = has(datasets.c.state, State.READY)

_SHOWN = exists().where(datasets.c.tile_id == pyramids.c.tile_id, _IS_READY, datasets.c.deleted_at.is_(None))


def builds(connection: Connection, after: str, size: int, now: float) -> tuple[list[tuple[str, str]], str]:
    """Builds that ready datasets show, by tile_id.

    Parameters
    ----------
    after: the tile_id behind which they begin.
    size: how many are looked at.

    Returns
    -------
    tile_id and build of those that are settled, and the tile_id behind which the next page begins; empty at the end.
    """
    tile_ids = connection.scalars(
        select(pyramids.c.tile_id).where(pyramids.c.tile_id > after).order_by(pyramids.c.tile_id).limit(size)
    ).all()
    rows = connection.execute(
        select(pyramids.c.tile_id, pyramids.c.build)
        .where(pyramids.c.tile_id.in_(tile_ids), ~pyramids.c.deleting, pyramids.c.created_at < now - SETTLED, _SHOWN)
        .order_by(pyramids.c.tile_id)
    )
    return [(row.tile_id, row.build) for row in rows], tile_ids[-1] if len(tile_ids) == size else ""


def report(connection: Connection, tile_id: str, build: str, options: Callable[[Row[Any]], Options], now: float) -> str:
    """Takes a build for lost where it counts, and has one dataset that shows it make it again.

    One of an earlier PYRAMID_VERSION is made as pyramids are made today, under another tile_id: addresses whose tiles
    may be kept for ever must not show other pixels.

    Parameters
    ----------
    options: gives what a row asks of its pyramid.

    Returns
    -------
    The dataset's id; empty where none had to, or can.
    """
    counts = (
        (pyramids.c.tile_id == tile_id)
        & (pyramids.c.build == build)
        & ~pyramids.c.deleting
        & (pyramids.c.created_at < now - SETTLED)
    )
    if connection.execute(select(pyramids.c.tile_id).where(counts).with_for_update()).first() is None:
        return ""
    connection.execute(update(pyramids).where(counts).values(lost=True))
    wanted = (datasets.c.tile_id == tile_id) & datasets.c.deleted_at.is_(None)
    at_work = select(datasets.c.seq).where(wanted, datasets.c.state.not_in(list(FINAL))).limit(1)
    if connection.execute(at_work).first() is not None:
        return ""
    row = connection.execute(
        select(datasets)
        .where(wanted, _IS_READY)
        # The one that needs no download, if there is one.
        .order_by(datasets.c.source_key.is_(None), datasets.c.seq.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return ""
    event = Event.REBUILD_WITH_SOURCE if row.source_key else Event.REBUILD_FROM_START
    todays = tile_id_of(row.source_sha256, options(row))
    wait_again(connection, row, event, now, crashes=0, retries=0, finished_at=None, tile_id=todays)
    return str(row.dataset_id)
