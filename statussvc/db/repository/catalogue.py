"""Datasets as users see them: create, read, list, describe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, insert, select, union_all, update

from pipeline.errors import Conflict, NotFound
from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.repository import addresses, changes, labels, searchable
from statussvc.db.repository.holds import holder
from statussvc.db.repository.ids import free_id
from statussvc.db.repository.insert import insert_once
from statussvc.db.repository.reusable import fresh_download, url_hash
from statussvc.db.repository.transitions import first_attempt, has, lock_present
from statussvc.db.rows import (
    DATASET_PREFIX,
    CatalogueEntry,
    PyramidRow,
    as_json,
    fetch_all,
    fetch_entries,
    fetch_one,
    own_texts,
)
from statussvc.db.tables import dataset_labels, datasets, former_ids, idempotency, pyramids
from statussvc.enums import Kind, TileFormat
from statussvc.lifecycle import State

IDEMPOTENCY_SECONDS = 24 * 3600.0
"""Seconds for which an Idempotency-Key is kept: a day, as at Stripe."""

IS_DATASET = datasets.c.kind.not_in([Kind.INSPECTION, Kind.REFRESH])
"""Nearly all rows are datasets. Asked for `kind = 'dataset'`, SQLite would use that index and then sort them all."""


class KeyReused(Exception):
    """Raised when an idempotency key was used before, with another request."""


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What a user submits."""

    name: str
    description: str
    category: str
    subject: str
    url: str
    tile_size: int
    tile_format: TileFormat = TileFormat.UNSPECIFIED
    tile_quality: int = 0
    page: int = 0
    more_options: str = ""
    sha256: str = ""
    reference: str = ""
    more_texts: str = ""
    idempotency_key: str = ""

    def fingerprint(self) -> str:
        """A hash that is the same for the same request."""
        parts = [self.name, self.description, self.category, self.subject, self.url, str(self.tile_size)]
        rest = [self.tile_format, str(self.tile_quality), str(self.page), self.sha256]
        if rest != ["", "0", "0", ""]:  # keys stored before these options existed still match
            parts += rest
        if self.more_options:
            parts.append(self.more_options)
        if self.reference or self.more_texts:
            parts += [self.reference, self.more_texts]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Texts:
    """New descriptive texts of a dataset, and its source's new URL; None leaves one as it is.

    Parameters
    ----------
    reference: "" for none.
    merge: returns the new tags, metadata, rights and attribution for the present ones.
    """

    name: str | None = None
    description: str | None = None
    category: str | None = None
    subject: str | None = None
    url: str | None = None
    reference: str | None = None
    merge: Callable[[pb.Dataset], pb.Dataset] | None = None

    def given(self) -> dict[str, str | None]:
        """The descriptive texts that change, by their columns."""
        texts = {
            "name": self.name,
            "description": self.description,
            "category": self.category,
            "subject": self.subject,
        }
        return {column: text for column, text in texts.items() if text is not None}


def _entries() -> Select[*tuple[Any, ...]]:
    """Datasets that are not deleted, each with its pyramid where that is built."""
    return (
        select(datasets, pyramids)
        .join_from(
            datasets,
            pyramids,
            and_(datasets.c.tile_id == pyramids.c.tile_id, ~pyramids.c.deleting),
            isouter=True,
        )
        .where(datasets.c.deleted_at.is_(None), IS_DATASET)
    )


def create(connection: Connection, new: NewDataset, now: float, source_fresh: float = 0.0) -> tuple[str, bool]:
    """Insert a dataset in QUEUED, held where its URL is being downloaded or was just downloaded.

    Returns its id, and whether the idempotency key named an earlier one.
    Raises KeyReused where the key was used with another request, and Conflict where the reference is another's.

    Parameters
    ----------
    source_fresh: seconds after its download for which the file of a dataset that is ready is used without asking.
    """
    dataset_id = free_id(connection, DATASET_PREFIX)
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
            earlier_id, earlier_hash = connection.execute(
                select(idempotency.c.dataset_id, idempotency.c.request_hash).where(
                    idempotency.c.key == new.idempotency_key
                )
            ).one()
            if _exists(connection, earlier_id):
                if earlier_hash != new.fingerprint():
                    raise KeyReused(new.idempotency_key)
                return earlier_id, True
            # Its dataset was deleted meanwhile, so the key is free again, also for another request.
            connection.execute(
                update(idempotency)
                .where(idempotency.c.key == new.idempotency_key)
                .values(dataset_id=dataset_id, request_hash=new.fingerprint(), created_at=now)
            )
    require_free(connection, new.reference)
    seq = connection.scalars(
        insert(datasets)
        .values(
            dataset_id=dataset_id,
            kind=Kind.DATASET,
            name=new.name,
            description=new.description,
            category=new.category,
            subject=new.subject,
            **addresses.address(new.url),
            expected_sha256=new.sha256,
            tile_size=new.tile_size,
            tile_format=new.tile_format,
            tile_quality=new.tile_quality,
            page=new.page,
            more_options=new.more_options,
            reference=new.reference or None,
            more_texts=new.more_texts,
            **first_attempt(State.QUEUED, now),
            held_by=_holder(connection, new, source_fresh, now),
        )
        .returning(datasets.c.seq)
    ).one()
    searchable.put(connection, seq, new.name, new.description)
    labels.put(connection, seq, own_texts(new.more_texts))
    return dataset_id, False


def require_free(connection: Connection, reference: str, seq: int | None = None) -> None:
    """Raise Conflict if another dataset than that with this `seq` has the reference."""
    if not reference:
        return
    owner = connection.execute(
        select(datasets.c.seq, datasets.c.dataset_id).where(
            datasets.c.reference == reference, datasets.c.deleted_at.is_(None)
        )
    ).one_or_none()
    if owner is not None and owner.seq != seq:
        raise Conflict(f"The reference {reference!r} belongs to {owner.dataset_id}.")


def _holder(connection: Connection, new: NewDataset, source_fresh: float, now: float) -> str | None:
    by = holder(connection, new.url, new.sha256) or fresh_download(connection, new.url, new.sha256, source_fresh, now)
    return None if by is None else by.dataset_id


def _exists(connection: Connection, dataset_id: str) -> bool:
    wanted = (datasets.c.dataset_id == dataset_id) & datasets.c.deleted_at.is_(None) & IS_DATASET
    return connection.execute(select(datasets.c.seq).where(wanted)).first() is not None


def get(connection: Connection, dataset_id: str) -> CatalogueEntry:
    """One dataset, with its further pages. Raises NotFound."""
    found = fetch_entries(connection, _entries().where(datasets.c.dataset_id == dataset_id))
    if not found:
        raise NotFound(f"There is no dataset {dataset_id}.")
    entry = found[0]
    if entry.pyramid is None or (entry.pyramid.pages or 0) < 2:
        return entry
    further = select(pyramids).where(pyramids.c.first_page == entry.pyramid.tile_id).order_by(pyramids.c.page)
    return replace(entry, further=tuple(fetch_all(connection, PyramidRow, further)))


def resolve(connection: Connection, dataset_id: str, page: int = 0) -> CatalogueEntry | None:
    """One dataset, or a page of it; None if it was deleted. Raises NotFound if there was never such a dataset or page.

    Parameters
    ----------
    page: its number in the source, after the first one, whose pyramid the entry then has; 0: the first one.
    """
    found = fetch_entries(connection, _entries().where(datasets.c.dataset_id == dataset_id))
    if found:
        return _page_of(connection, found[0], page) if page else found[0]
    # Rows that are not deleted are found above, unless the dataset was created meanwhile.
    was_there = exists().where(datasets.c.dataset_id == dataset_id, datasets.c.deleted_at.is_not(None), IS_DATASET)
    if connection.scalar(select(was_there | exists().where(former_ids.c.dataset_id == dataset_id))):
        return None
    raise NotFound(f"There is no dataset {dataset_id}.")


def _page_of(connection: Connection, entry: CatalogueEntry, page: int) -> CatalogueEntry:
    first = entry.pyramid
    if first is None or entry.row.state is not State.READY:
        if not entry.row.options.all_pages:
            raise NotFound(f"The dataset {entry.row.dataset_id} has one page.")
        return entry
    wanted = (pyramids.c.first_page == first.tile_id) & (pyramids.c.page == page) & ~pyramids.c.deleting
    found = fetch_one(connection, PyramidRow, select(pyramids).where(wanted))
    if found is None:
        raise NotFound(f"The dataset {entry.row.dataset_id} shows no further page {page}.")
    return replace(entry, pyramid=found)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the catalogue: its filters ("" and () filter nothing), its size, and the `seq` that it ends before.

    Databases without statistics may choose any index that fits. URLs and hashes select the fewest rows, so where one is
    given, the other filters are written so that no index fits them.
    """

    states: tuple[State, ...]
    category: str
    subject: str
    size: int
    before: int | None
    url: str = ""
    sha256: str = ""
    reference: str = ""
    label_hashes: tuple[str, ...] = ()

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """All filters but that by state."""
        has_own_index = not (self.url or self.sha256 or self.reference or self.label_hashes)
        for column, text in ((datasets.c.category, self.category), (datasets.c.subject, self.subject)):
            if text:
                yield (column if has_own_index else column.concat("")) == text
        if self.url:
            yield datasets.c.url_hash == url_hash(self.url)
            yield datasets.c.url == self.url
        if self.sha256:
            yield (datasets.c.source_sha256 if not self.url else datasets.c.source_sha256.concat("")) == self.sha256

        if self.reference:
            yield datasets.c.reference == self.reference
        for label_hash in self.label_hashes:
            own = dataset_labels.alias()
            yield exists().where(own.c.label_hash == label_hash, own.c.seq == datasets.c.seq)

    def is_in(self, state: State) -> ColumnElement[bool]:
        """Whether a dataset is in a state."""
        has_other_index = self.reference or (self.sha256 and not self.url)
        return has(datasets.c.state, state) if has_other_index else datasets.c.state == state


def page(connection: Connection, wanted: Page) -> list[CatalogueEntry]:
    """Up to `size + 1` datasets, newest first: one more than the page where another page follows."""
    return by_seq(connection, page_seqs(connection, wanted))


def page_seqs(connection: Connection, wanted: Page) -> Sequence[int]:
    """The `seq` of the datasets of a page, as `page` returns them."""
    if not wanted.states or wanted.label_hashes:
        return connection.scalars(_seqs(wanted, None)).all()
    # One page for each state, then merged: a query for several states at once would sort all their rows.
    pages = [_seqs(wanted, state).subquery() for state in dict.fromkeys(wanted.states)]
    found = union_all(*(select(one.c.seq) for one in pages)).subquery()
    return connection.scalars(select(found.c.seq).order_by(found.c.seq.desc()).limit(wanted.size + 1)).all()


def by_seq(connection: Connection, seqs: Sequence[int]) -> list[CatalogueEntry]:
    """The datasets with these `seq`, newest first, without those that were deleted meanwhile."""
    return fetch_entries(connection, _entries().where(datasets.c.seq.in_(seqs)).order_by(datasets.c.seq.desc()))


def _seqs(wanted: Page, state: State | None) -> Select[int]:
    seq = datasets.c.seq
    query = select(seq)
    if wanted.label_hashes:
        # Newest first by the labels' own index: the others are looked up for each of its rows.
        seq = dataset_labels.c.seq
        query = (
            select(seq)
            .join_from(dataset_labels, datasets, datasets.c.seq == seq)
            .where(dataset_labels.c.label_hash == wanted.label_hashes[0])
        )
        if wanted.states:
            query = query.where(datasets.c.state.concat("").in_(wanted.states))
    query = query.where(datasets.c.deleted_at.is_(None), IS_DATASET)
    if state:
        query = query.where(wanted.is_in(state))
    query = query.where(*wanted.conditions())
    if wanted.before is not None:
        query = query.where(seq < wanted.before)
    return query.order_by(seq.desc()).limit(wanted.size + 1)


def describe(connection: Connection, dataset_id: str, texts: Texts, now: float) -> CatalogueEntry:
    """Change descriptive texts, and the source's URL. Raises NotFound, Conflict."""
    row = lock_present(connection, dataset_id)
    if texts.url is not None:
        addresses.change(connection, row, texts.url, now)
    given = texts.given()
    if texts.reference is not None:
        require_free(connection, texts.reference, row.seq)
        given["reference"] = texts.reference or None
    if texts.merge is not None:
        merged = texts.merge(row.own_texts)
        given["more_texts"] = as_json(merged)
        labels.drop(connection, row.seq)
        labels.put(connection, row.seq, merged)
    connection.execute(
        update(datasets).where(datasets.c.dataset_id == dataset_id).values(**given, revision=datasets.c.revision + 1)
    )
    if row.state is State.READY and any(getattr(row, column) != value for column, value in given.items()):
        changes.shown(connection, row)
    entry = get(connection, dataset_id)
    if texts.name is not None or texts.description is not None:
        searchable.change(connection, entry.row.seq, entry.row.name, entry.row.description)
    return entry


def pyramid(connection: Connection, tile_id: str) -> PyramidRow:
    """The build that counts for a tile_id. Raises NotFound."""
    query = select(pyramids).where(pyramids.c.tile_id == tile_id, ~pyramids.c.deleting)
    row = fetch_one(connection, PyramidRow, query)
    if row is None:
        raise NotFound(f"There is no pyramid {tile_id}.")
    return row
