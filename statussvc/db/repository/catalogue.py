"""Datasets as their submitters see them: create, read, list, describe."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, insert, select, union_all, update

from pipeline.errors import NotFound
from statussvc.db.repository import searchable
from statussvc.db.repository.insert import insert_once
from statussvc.db.repository.known import url_hash
from statussvc.db.repository.turns import host_hash
from statussvc.db.tables import datasets, former_ids, idempotency, pyramids
from statussvc.enums import Kind, TileFormat
from statussvc.lifecycle import State

IDEMPOTENCY_SECONDS = 24 * 3600.0
"""How long an Idempotency-Key is kept: what Stripe's clients are used to."""


IS_DATASET = datasets.c.kind != Kind.INSPECTION
"""By what it is not: SQLite would take an index for what it is, which nearly all rows are, and sort them all."""


class KeyReused(Exception):
    """Raised when an idempotency key was used before with another request."""


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What a submitter says of a dataset."""

    name: str
    description: str
    category: str
    subject: str
    url: str
    tile_size: int
    tile_format: TileFormat = TileFormat.UNSPECIFIED
    tile_quality: int = 0
    page: int = 0
    sha256: str = ""
    idempotency_key: str = ""

    def fingerprint(self) -> str:
        """The same for the same request."""
        parts = [self.name, self.description, self.category, self.subject, self.url, str(self.tile_size)]
        rest = [self.tile_format, str(self.tile_quality), str(self.page), self.sha256]
        if rest != ["", "0", "0", ""]:  # keys stored before these could be asked for still match
            parts += rest
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def with_pyramid() -> Select[Any]:
    """Rows that are not deleted, each with the pyramid it refers to, if that is built."""
    return (
        select(
            datasets,
            pyramids.c.build,
            pyramids.c.width,
            pyramids.c.height,
            pyramids.c.tile_size.label("pyramid_tile_size"),
            pyramids.c.format,
            pyramids.c.tile_count,
            pyramids.c.bytes.label("pyramid_bytes"),
        )
        .join_from(
            datasets,
            pyramids,
            and_(datasets.c.tile_id == pyramids.c.tile_id, ~pyramids.c.deleting),
            isouter=True,
        )
        .where(datasets.c.deleted_at.is_(None), IS_DATASET)
    )


def create(connection: Connection, new: NewDataset, now: float) -> tuple[str, bool]:
    """Inserts a dataset in QUEUED. Returns its id, and whether the idempotency key named an earlier one.

    Raises KeyReused when the key was used with another request.
    """
    dataset_id = free_id(connection, "custom_")
    if new.idempotency_key:
        expired = (idempotency.c.key == new.idempotency_key) & (idempotency.c.created_at < now - IDEMPOTENCY_SECONDS)
        connection.execute(idempotency.delete().where(expired))
        claimed = insert_once(
            connection,
            idempotency,
            key=new.idempotency_key,
            request_hash=new.fingerprint(),
            dataset_id=dataset_id,
            created_at=now,
        )
        if not claimed:
            earlier = connection.execute(select(idempotency).where(idempotency.c.key == new.idempotency_key)).one()
            if connection.scalar(with_pyramid().where(datasets.c.dataset_id == earlier.dataset_id)) is not None:
                if earlier.request_hash != new.fingerprint():
                    raise KeyReused(new.idempotency_key)
                return earlier.dataset_id, True
            # Deleted meanwhile: the key names nothing any more, and is free, also for another request.
            connection.execute(
                update(idempotency)
                .where(idempotency.c.key == new.idempotency_key)
                .values(dataset_id=dataset_id, request_hash=new.fingerprint(), created_at=now)
            )
    seq = connection.scalars(
        insert(datasets)
        .values(
            dataset_id=dataset_id,
            kind=Kind.DATASET,
            name=new.name,
            description=new.description,
            category=new.category,
            subject=new.subject,
            url=new.url,
            url_hash=url_hash(new.url),
            host_hash=host_hash(new.url),
            expected_sha256=new.sha256,
            tile_size=new.tile_size,
            tile_format=new.tile_format,
            tile_quality=new.tile_quality,
            page=new.page,
            state=State.QUEUED,
            attempt=1,
            crashes=0,
            retries=0,
            revision=1,
            created_at=now,
            queued_at=now,
        )
        .returning(datasets.c.seq)
    ).one()
    searchable.put(connection, seq, new.name, new.description)
    return dataset_id, False


def free_id(connection: Connection, prefix: str) -> str:
    """An id that no row has, and no dataset had; inspections' may come again.

    Eight hex digits, as in the contract's example; more where chance took one.
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


def get(connection: Connection, dataset_id: str) -> Row[Any]:
    """One dataset. Raises NotFound."""
    row = connection.execute(with_pyramid().where(datasets.c.dataset_id == dataset_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no dataset {dataset_id}.")
    return row


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the catalogue is asked for; empty texts do not filter."""

    states: tuple[State, ...]
    category: str
    subject: str
    size: int
    before: int | None


def page(connection: Connection, wanted: Page) -> Sequence[Row[Any]]:
    """Up to `size + 1` rows, newest first: one more than the page where another page follows."""
    # A page of each state, merged: a page of several states at once would sort all rows in them.
    pages = [_seqs(wanted, state).subquery() for state in dict.fromkeys(wanted.states)]
    found = union_all(*(select(one.c.seq) for one in pages)).subquery() if pages else _seqs(wanted, None).subquery()
    seqs = select(found.c.seq).order_by(found.c.seq.desc()).limit(wanted.size + 1)
    return connection.execute(
        with_pyramid().where(datasets.c.seq.in_(seqs.scalar_subquery())).order_by(datasets.c.seq.desc())
    ).all()


def these(connection: Connection, seqs: Sequence[int]) -> Sequence[Row[Any]]:
    """The rows of these numbers, newest first, but for those that were deleted meanwhile."""
    return connection.execute(with_pyramid().where(datasets.c.seq.in_(seqs)).order_by(datasets.c.seq.desc())).all()


def _seqs(wanted: Page, state: State | None) -> Select[int]:
    query = select(datasets.c.seq).where(datasets.c.deleted_at.is_(None), IS_DATASET)
    if state:
        query = query.where(datasets.c.state == state)
    if wanted.category:
        query = query.where(datasets.c.category == wanted.category)
    if wanted.subject:
        query = query.where(datasets.c.subject == wanted.subject)
    if wanted.before is not None:
        query = query.where(datasets.c.seq < wanted.before)
    return query.order_by(datasets.c.seq.desc()).limit(wanted.size + 1)


def describe(connection: Connection, dataset_id: str, texts: dict[str, str]) -> Row[Any]:
    """Changes descriptive texts. Raises NotFound."""
    get(connection, dataset_id)
    connection.execute(
        update(datasets).where(datasets.c.dataset_id == dataset_id).values(**texts, revision=datasets.c.revision + 1)
    )
    row = get(connection, dataset_id)
    if "name" in texts or "description" in texts:
        searchable.change(connection, row.seq, row.name, row.description)
    return row


def pyramid(connection: Connection, tile_id: str) -> Row[Any]:
    """The build that counts for a tile_id. Raises NotFound."""
    row = connection.execute(select(pyramids).where(pyramids.c.tile_id == tile_id, ~pyramids.c.deleting)).one_or_none()
    if row is None:
        raise NotFound(f"There is no pyramid {tile_id}.")
    return row
