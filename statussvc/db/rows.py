"""Rows as the service reads them: frozen and typed. Only this module makes them from what a query returns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from sqlalchemy import Connection, Select, select

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.tables import datasets
from statussvc.enums import MAIN_PICTURE, TILE_FORMAT_VALUES, Answer, Change, Kind, Outcome, TileFormat
from statussvc.lifecycle import Stage, State

R = TypeVar("R")

DATASET_PREFIX = "custom_"
"""How the ids of datasets begin."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage failed.

    Parameters
    ----------
    code: one of pipeline.errors.DATASET_CODES.
    message: a sentence for a person.
    retryable: whether a retry can help.
    retry_after: seconds to wait before a retry, as the source asked for; not stored.
    is_refusal: whether a host refused another connection; not stored.
    refused_by: that host, which a redirect or a description may have led to; "" for the URL's own; not stored.
    """

    code: str
    message: str
    retryable: bool
    retry_after: float = 0.0
    is_refusal: bool = False
    refused_by: str = ""

    def columns(self) -> dict[str, object]:
        """As columns of `datasets`."""
        return {"error_code": self.code, "error_message": self.message, "error_retryable": self.retryable}


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A downloaded source: its storage key, its bytes, and the validators its server sent ("" for none)."""

    key: str
    sha256: str
    size: int
    etag: str
    modified: str


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source's header says. Sizes in pixels; 0 pages: unknown."""

    format: str
    width: int
    height: int
    pages: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview's storage key and its size in pixels."""

    key: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a link was rewritten to: what recognised it, the new address, and a note for people."""

    rule: str
    url: str
    note: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run at work has found out about its source, or made of it."""

    source: SourceInfo | None = None
    preview: Preview | None = None
    rewritten: Rewritten | None = None

    def columns(self) -> dict[str, object]:
        """As columns of `datasets`; none for what is not known yet."""
        groups = {"source": self.source, "preview": self.preview, "rewritten": self.rewritten}
        return {
            f"{prefix}_{name}": value
            for prefix, group in groups.items()
            if group is not None
            for name, value in asdict(group).items()
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """A run's progress as its row keeps it."""

    bytes_downloaded: int
    bytes_total: int | None
    tiles_done: int
    tiles_total: int | None
    stage_percent: float | None


def own_texts(more_texts: str) -> pb.Dataset:
    """What else a client says of its image, as a column holds it: tags, metadata and more in a Dataset."""
    texts = pb.Dataset()
    return json_format.Parse(more_texts, texts) if more_texts else texts


def as_json(message: Message) -> str:
    """A message as a column holds it: "" if nothing in it is set."""
    return json_format.MessageToJson(message, indent=None, sort_keys=True) if message.ListFields() else ""


@dataclass(frozen=True, slots=True)
class RefreshEnd:
    """How a refresh ended.

    Parameters
    ----------
    requested_at, finished_at: seconds since the epoch.
    changed: whether a new pyramid is shown.
    code, message: why the source could not be fetched, or was of no use; "" if it was.
    """

    requested_at: float
    finished_at: float
    changed: bool
    code: str = ""
    message: str = ""

    def as_json(self) -> str:
        """As a column holds it."""
        return json.dumps(asdict(self))


REFRESH_PREFIX = "fresh_"
"""How the ids of refreshes begin. They may hold others, so they sort before tables.HOST."""


def refresh_prefix(dataset_id: str) -> str:
    """How the ids of a dataset's refreshes begin."""
    return f"{REFRESH_PREFIX}{dataset_id.removeprefix(DATASET_PREFIX)}_"


def shown_id(dataset_id: str) -> str:
    """The id that people are shown for a row's: a refresh is shown as its owner."""
    if not dataset_id.startswith(REFRESH_PREFIX):
        return dataset_id
    return DATASET_PREFIX + dataset_id.removeprefix(REFRESH_PREFIX).partition("_")[0]


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of `datasets`. Its fields are the table's columns, in their order."""

    seq: int
    dataset_id: str
    kind: Kind
    name: str
    description: str
    category: str
    subject: str
    url: str
    url_hash: str | None
    host_hash: str | None
    expected_sha256: str
    tile_size: int
    tile_format: TileFormat
    tile_quality: int
    page: int
    more_options: str
    reference: str | None
    more_texts: str
    state: State
    attempt: int
    crashes: int
    retries: int
    revision: int
    created_at: float
    queued_at: float
    started_at: float | None
    finished_at: float | None
    deleted_at: float | None
    held_by: str | None
    held_places: int | None
    refusals: int
    waited: float
    not_before: float | None
    published_at: float | None
    leased_until: float | None
    run_id: str | None
    source_key: str | None
    source_sha256: str | None
    source_bytes: int | None
    source_etag: str | None
    source_modified: str | None
    source_format: str | None
    source_width: int | None
    source_height: int | None
    source_pages: int | None
    preview_key: str | None
    preview_width: int | None
    preview_height: int | None
    rewritten_rule: str | None
    rewritten_url: str | None
    rewritten_note: str | None
    report: str | None
    tile_id: str | None
    error_code: str | None
    error_message: str | None
    error_retryable: bool | None
    owner: str | None
    forced: bool
    refresh_id: str | None
    last_refresh: str | None

    @property
    def options(self) -> pb.TileOptions:
        """What is asked of the pyramid."""
        options = pb.TileOptions(
            tile_size=self.tile_size,
            format=TILE_FORMAT_VALUES[self.tile_format],
            quality=self.tile_quality,
            page=None if self.page == MAIN_PICTURE else max(0, self.page),
        )
        return json_format.Parse(self.more_options, options) if self.more_options else options

    @property
    def own_texts(self) -> pb.Dataset:
        """What else the client says of its image, in the fields of a Dataset."""
        return own_texts(self.more_texts)

    @property
    def failure(self) -> Failure | None:
        """Why its last run failed; None where it did not, or where another run is at work."""
        if self.error_code is None:
            return None
        return Failure(self.error_code, self.error_message or "", bool(self.error_retryable))

    @property
    def stored_source(self) -> StoredSource | None:
        """The source; None before its download, and after it was removed from storage."""
        if self.source_key is None or self.source_sha256 is None or self.source_bytes is None:
            return None
        # Rows from before schema 0003 have no validators.
        etag, modified = self.source_etag or "", self.source_modified or ""
        return StoredSource(self.source_key, self.source_sha256, self.source_bytes, etag, modified)

    @property
    def downloaded_by(self) -> str | None:
        """The dataset that downloaded the source, if another one did."""
        if self.source_key is None:
            return None
        dataset_id = shown_id(self.source_key.split("/")[1])
        return dataset_id if dataset_id != shown_id(self.dataset_id) else None

    @property
    def refreshed(self) -> RefreshEnd | None:
        """How its last refresh ended; of a refresh, why its source could not be fetched."""
        return None if self.last_refresh is None else RefreshEnd(**json.loads(self.last_refresh))

    @property
    def facts(self) -> Facts:
        """What the source's header says, its preview, and its rewritten link, where they are known."""
        return Facts(
            SourceInfo(self.source_format, self.source_width or 0, self.source_height or 0, self.source_pages or 0)
            if self.source_format is not None
            else None,
            Preview(self.preview_key, self.preview_width or 0, self.preview_height or 0)
            if self.preview_key is not None
            else None,
            Rewritten(self.rewritten_rule or "", self.rewritten_url, self.rewritten_note or "")
            if self.rewritten_url is not None
            else None,
        )


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of `runs`. Its fields are the table's columns, in their order."""

    run_id: str
    dataset_id: str
    attempt: int
    stage: Stage
    worker: str
    begun_at: float
    published_at: float | None
    ended_at: float | None
    outcome: Outcome | None
    answer: Answer | None
    next_attempt: int | None
    bytes_downloaded: int
    bytes_total: int | None
    tiles_done: int
    tiles_total: int | None
    stage_percent: float | None
    host_hash: str | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A row of `changes`. Its fields are the table's columns, in their order."""

    seq: int
    dataset_id: str
    change: Change
    began_at: float | None
    ended_at: float
    overtaken: bool


@dataclass(frozen=True, slots=True)
class PyramidRow:
    """A row of `pyramids`. Its fields are the table's columns, in their order."""

    tile_id: str
    build: str
    deleting: bool
    lost: bool
    width: int
    height: int
    tile_size: int
    format: TileFormat
    tile_count: int
    bytes: int
    created_at: float
    warnings: list[list[str]]
    stretch: list[str | float] | None
    channels: list[list[str | float]] | None
    more: str
    pages: int | None
    first_page: str | None
    page: int | None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A row of `versions`. Its fields are the table's columns, in their order."""

    seq: int
    dataset_id: str
    tile_id: str
    pyramid_version: int
    source_sha256: str
    source_bytes: int
    source_modified: str
    created_at: float
    replaced_at: float


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A dataset, its pyramid where that is built, and its refresh where one is at work.

    Parameters
    ----------
    further: the pyramids of its further pages, in order. In lists there are none.
    """

    row: DatasetRow
    pyramid: PyramidRow | None
    refresh: DatasetRow | None = None
    further: tuple[PyramidRow, ...] = ()

    @property
    def run_ids(self) -> list[str]:
        """The runs at work on it."""
        return [row.run_id for row in (self.row, self.refresh) if row is not None and row.run_id is not None]


def fetch_all(connection: Connection, kind: type[R], query: Select[*tuple[Any, ...]]) -> list[R]:
    """All rows of a query that selects the table of `kind`."""
    return [kind(*row) for row in connection.execute(query)]


def fetch_one(connection: Connection, kind: type[R], query: Select[*tuple[Any, ...]]) -> R | None:
    """The row of a query that selects the table of `kind` and finds one row at most."""
    row = connection.execute(query).one_or_none()
    return None if row is None else kind(*row)


def fetch_entries(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[CatalogueEntry]:
    """All rows of a query that selects datasets, and pyramids from an outer join."""
    entries, width = [], len(datasets.c)
    for values in connection.execute(query):
        row, pyramid = values[:width], values[width:]
        entries.append(CatalogueEntry(DatasetRow(*row), None if pyramid[0] is None else PyramidRow(*pyramid)))
    wanted = [entry.row.refresh_id for entry in entries if entry.row.refresh_id is not None]
    if not wanted:
        return entries
    # One that has ended since the entries were read is left out.
    at_work = select(datasets).where(datasets.c.dataset_id.in_(wanted), datasets.c.deleted_at.is_(None))
    found = fetch_all(connection, DatasetRow, at_work)
    refreshes = {row.dataset_id: row for row in found}
    return [replace(entry, refresh=refreshes.get(entry.row.refresh_id or "")) for entry in entries]
