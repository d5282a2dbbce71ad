"""The pyramids that a dataset has shown before its present one, for as long as they are kept."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, insert, select

from pipeline.pyramids import version_of
from statussvc.db.rows import DatasetRow, PyramidRow, VersionRow
from statussvc.db.tables import pyramids, versions

LOOK = 200
"""Versions that one call of `forget_old` looks at."""

MOST_LISTED = 200
"""Versions of one dataset in a list."""


def replace(connection: Connection, row: DatasetRow, tile_id: str, now: float) -> None:
    """Keep the pyramid that a dataset shows as a version, before another one takes its place.

    Parameters
    ----------
    tile_id: of the pyramid that is to be shown; it is no longer a version.
    """
    _forget(connection, row.dataset_id, tile_id)
    if row.tile_id is None or row.source_sha256 is None:
        return
    is_there = select(pyramids.c.tile_id).where(pyramids.c.tile_id == row.tile_id, ~pyramids.c.deleting)
    if connection.scalar(is_there.with_for_update()) is None:
        return
    _forget(connection, row.dataset_id, row.tile_id)
    connection.execute(
        insert(versions).values(
            dataset_id=row.dataset_id,
            tile_id=row.tile_id,
            pyramid_version=version_of(row.tile_id, row.source_sha256, row.options),
            source_sha256=row.source_sha256,
            source_bytes=row.source_bytes or 0,
            source_modified=row.source_modified or "",
            created_at=row.finished_at or row.created_at,
            replaced_at=now,
        )
    )


def kept(connection: Connection, dataset_id: str) -> list[tuple[VersionRow, PyramidRow]]:
    """The versions of a dataset with their pyramids, the newest first."""
    rows = connection.execute(
        select(versions, pyramids)
        .join_from(versions, pyramids, and_(versions.c.tile_id == pyramids.c.tile_id, ~pyramids.c.deleting))
        .where(versions.c.dataset_id == dataset_id)
        .order_by(versions.c.seq.desc())
        .limit(MOST_LISTED)
    )
    width = len(versions.c)
    return [(VersionRow(*values[:width]), PyramidRow(*values[width:])) for values in rows]


def forget_old(connection: Connection, keep: int, grace: float, now: float, after: int = 0) -> int:
    """Forget versions that are kept no longer: their pyramids may be garbage then.

    Each call looks at LOOK versions, since all of them may have to be kept. Returns the `seq` after which the next call
    continues; 0 at the end.

    Parameters
    ----------
    keep: how many versions of a dataset are kept whatever their age, the present one included.
    grace: seconds for which the others are kept after they were replaced.
    """
    found = connection.execute(
        select(versions.c.seq, versions.c.replaced_at)
        .where(versions.c.seq > after)
        .order_by(versions.c.seq)
        .limit(LOOK)
    ).all()
    old = [seq for seq, replaced_at in found if replaced_at <= now - grace]
    if old:
        newer = versions.alias()
        followers = (
            select(func.count())
            .where(newer.c.dataset_id == versions.c.dataset_id, newer.c.seq > versions.c.seq)
            .scalar_subquery()
        )
        outlived = select(versions.c.seq).where(versions.c.seq.in_(old), followers >= keep - 1)
        gone = connection.scalars(outlived).all()
        connection.execute(delete(versions).where(versions.c.seq.in_(gone)))
    return found[-1][0] if len(found) == LOOK else 0


def forget_all(connection: Connection, dataset_id: str) -> None:
    """Forget all versions of a dataset that is deleted."""
    connection.execute(delete(versions).where(versions.c.dataset_id == dataset_id))


def _forget(connection: Connection, dataset_id: str, tile_id: str) -> None:
    connection.execute(delete(versions).where(versions.c.dataset_id == dataset_id, versions.c.tile_id == tile_id))
