"""The tables, with typed columns. Times are seconds since the Unix epoch, UTC: both databases compare them alike."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    ARRAY,
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Named,
    String,
    Table,
    Text,
    TypedColumns,
    event,
    false,
    text,
)

from pipeline.texts import MAX_REFERENCE
from statussvc.enums import Answer, Change, Kind, Outcome, TileFormat
from statussvc.lifecycle import Stage, State

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    }
)

RisingKey = BigInteger().with_variant(Integer, "sqlite")
"""SQLite gives rising row ids to INTEGER keys only."""


def _text_of(members: type[StrEnum], length: int) -> Enum:
    """A column of text that reads as an enum."""
    return Enum(
        members,
        native_enum=False,
        length=length,
        values_callable=lambda of: [str(member) for member in of],
    )


class DatasetColumns(TypedColumns):
    """Datasets, inspections and refreshes: all follow the same rules for runs."""

    seq: Named[int] = Column(RisingKey, primary_key=True, autoincrement=True)
    dataset_id: Named[str] = Column(String(40), unique=True)
    kind: Named[Kind] = Column(_text_of(Kind, 16))
    name: Named[str] = Column(Text)
    description: Named[str] = Column(Text)
    category: Named[str] = Column(Text)
    subject: Named[str] = Column(Text)
    url: Named[str] = Column(Text)
    # An index cannot hold a URL of any length.
    url_hash: Named[str | None] = Column(String(64))
    # Hex, so that every collation sorts it the same way.
    host_hash: Named[str | None] = Column(String(16))
    expected_sha256: Named[str] = Column(String(64))
    tile_size: Named[int] = Column(Integer)
    tile_format: Named[TileFormat] = Column(_text_of(TileFormat, 8))
    tile_quality: Named[int] = Column(Integer)
    page: Named[int] = Column(Integer)
    # The other options: a TileOptions as JSON. Empty if none is set.
    more_options: Named[str] = Column(Text, server_default="")
    # The client's own id, and its other texts: a Dataset as JSON. Empty if none is set.
    reference: Named[str | None] = Column(String(MAX_REFERENCE))
    more_texts: Named[str] = Column(Text, server_default="")
    state: Named[State] = Column(_text_of(State, 16))
    attempt: Named[int] = Column(Integer)
    crashes: Named[int] = Column(Integer)
    retries: Named[int] = Column(Integer)
    revision: Named[int] = Column(BigInteger)
    created_at: Named[float] = Column(Float(53))
    queued_at: Named[float] = Column(Float(53))
    started_at: Named[float | None] = Column(Float(53))
    finished_at: Named[float | None] = Column(Float(53))
    deleted_at: Named[float | None] = Column(Float(53))
    # What a waiting row waits for besides a worker: the dataset that downloads its URL, or HOST and its host_hash. See
    # repository/holds.py and places.py.
    held_by: Named[str | None] = Column(String(40))
    # How many downloads the host allows that it waits for; none while the host asked to be left alone.
    held_places: Named[int | None] = Column(Integer)
    # How often its host refused another connection, and the seconds that it waited as the source asked.
    refusals: Named[int] = Column(Integer, server_default="0")
    waited: Named[float] = Column(Float(53), server_default="0")
    # The outbox: when a waiting row is due, when it was published, and until when it is one relay's to publish.
    not_before: Named[float | None] = Column(Float(53))
    published_at: Named[float | None] = Column(Float(53))
    leased_until: Named[float | None] = Column(Float(53))
    run_id: Named[str | None] = Column(String(32))
    source_key: Named[str | None] = Column(Text)
    source_sha256: Named[str | None] = Column(String(64))
    source_bytes: Named[int | None] = Column(BigInteger)
    source_etag: Named[str | None] = Column(Text)
    source_modified: Named[str | None] = Column(Text)
    source_format: Named[str | None] = Column(String(16))
    source_width: Named[int | None] = Column(Integer)
    source_height: Named[int | None] = Column(Integer)
    source_pages: Named[int | None] = Column(Integer)
    preview_key: Named[str | None] = Column(Text)
    preview_width: Named[int | None] = Column(Integer)
    preview_height: Named[int | None] = Column(Integer)
    rewritten_rule: Named[str | None] = Column(Text)
    rewritten_url: Named[str | None] = Column(Text)
    rewritten_note: Named[str | None] = Column(Text)
    report: Named[str | None] = Column(Text)
    tile_id: Named[str | None] = Column(String(64))
    error_code: Named[str | None] = Column(String(64))
    error_message: Named[str | None] = Column(Text)
    error_retryable: Named[bool | None] = Column(Boolean)
    # Of a refresh: the dataset that it is for, and whether a pyramid is made even if nothing has changed.
    owner: Named[str | None] = Column(String(40))
    forced: Named[bool] = Column(Boolean, server_default=false())
    # Of a dataset: the refresh at work, and how the last one ended: a RefreshEnd as JSON.
    refresh_id: Named[str | None] = Column(String(40))
    last_refresh: Named[str | None] = Column(Text)


_NOT_DELETED = text("deleted_at IS NULL")
_WAITS = text("deleted_at IS NULL AND held_by IS NULL")
_HELD = text("deleted_at IS NULL AND held_by IS NOT NULL")
HELD_BY_HOST = text("deleted_at IS NULL AND held_by >= 'host:'")
"""Rows that wait for their host. Spelled out, or SQLite would not use the index on them."""
_REFERENCE = text("reference IS NOT NULL AND deleted_at IS NULL")
IN_INGEST = text("state IN ('QUEUED', 'DOWNLOADING')")
"""Rows that wait for a download or are at it. Spelled out, or SQLite would not use the index on them."""
_DOWNLOADS = text(f"deleted_at IS NULL AND {IN_INGEST.text}")

datasets = Table(
    "datasets",
    metadata,
    DatasetColumns,
    # The outbox, and the queue of each stage.
    Index(
        "ix_datasets_outbox",
        "state",
        "published_at",
        "seq",
        sqlite_where=_WAITS,
        postgresql_where=_WAITS,
    ),
    # Whom rows wait for, and the rows that do.
    Index("ix_datasets_held", "held_by", "seq", sqlite_where=_HELD, postgresql_where=_HELD),
    # Of the rows that wait for a host, the one that has waited longest.
    Index(
        "ix_datasets_held_by_host",
        "held_by",
        "queued_at",
        "seq",
        sqlite_where=HELD_BY_HOST,
        postgresql_where=HELD_BY_HOST,
    ),
    # Which rows of a URL wait or download.
    Index(
        "ix_datasets_same_url",
        "url_hash",
        "held_by",
        "state",
        "seq",
        sqlite_where=_DOWNLOADS,
        postgresql_where=_DOWNLOADS,
    ),
    # A deleted dataset gives its reference free.
    Index(
        "ix_datasets_reference",
        "reference",
        unique=True,
        sqlite_where=_REFERENCE,
        postgresql_where=_REFERENCE,
    ),
    Index("ix_datasets_tile_id", "tile_id"),
    Index("ix_datasets_source_key", "source_key"),
    Index("ix_datasets_url_hash", "url_hash", "seq"),
    Index("ix_datasets_url_hash_and_state", "url_hash", "state", "seq"),
    Index("ix_datasets_source_sha256", "source_sha256", "seq"),
    # Which hosts' sources wait, each with its own queue, and which are at work.
    Index(
        "ix_datasets_by_host",
        "state",
        "host_hash",
        "published_at",
        "seq",
        sqlite_where=_WAITS,
        postgresql_where=_WAITS,
    ),
    # Inspections are few, and removed by age.
    Index("ix_datasets_kind", "kind", "created_at"),
    # One for each selective filter of the catalogue, in the order of its pages.
    Index("ix_datasets_by_state", "state", "seq"),
    Index("ix_datasets_by_category", "category", "seq"),
    Index("ix_datasets_by_subject", "subject", "seq"),
    # Few of many rows: those that may be purged.
    Index(
        "ix_datasets_deleted",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)


class DatasetLabelColumns(TypedColumns):
    """The tags and metadata that the catalogue is filtered by: see repository/labels.py. Deleted datasets have none."""

    label_hash: Named[str] = Column(String(32), primary_key=True)
    seq: Named[int] = Column(RisingKey, primary_key=True, autoincrement=False)


dataset_labels = Table("dataset_labels", metadata, DatasetLabelColumns, Index("ix_dataset_labels_seq", "seq"))


class DatasetTextColumns(TypedColumns):
    """The texts that searches look in: see repository/searchable.py. Deleted datasets have none."""

    seq: Named[int] = Column(RisingKey, primary_key=True, autoincrement=False)
    name: Named[str] = Column(Text)
    description: Named[str] = Column(Text)
    # PostgreSQL only; SQLite has dataset_grams.
    grams: Named[list[int] | None] = Column(ARRAY(BigInteger).with_variant(Text(), "sqlite"))


dataset_texts = Table(
    "dataset_texts",
    metadata,
    DatasetTextColumns,
    Index("ix_dataset_texts_grams", "grams", postgresql_using="gin").ddl_if(dialect="postgresql"),
)

SQLITE_GRAMS = "dataset_grams"
"""SQLite's index of the trigrams in dataset_texts. It leaves out their positions: a fifth of the size."""

SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE dataset_grams USING fts5(name, description, content='dataset_texts', content_rowid='seq', "
    "tokenize='trigram case_sensitive 1', detail=none, columnsize=0)",
    "CREATE TRIGGER dataset_texts_put AFTER INSERT ON dataset_texts BEGIN "
    "INSERT INTO dataset_grams (rowid, name, description) VALUES (new.seq, new.name, new.description); END",
    "CREATE TRIGGER dataset_texts_drop AFTER DELETE ON dataset_texts BEGIN "
    "INSERT INTO dataset_grams (dataset_grams, rowid, name, description) "
    "VALUES ('delete', old.seq, old.name, old.description); END",
    "CREATE TRIGGER dataset_texts_change AFTER UPDATE ON dataset_texts BEGIN "
    "INSERT INTO dataset_grams (dataset_grams, rowid, name, description) "
    "VALUES ('delete', old.seq, old.name, old.description); "
    "INSERT INTO dataset_grams (rowid, name, description) VALUES (new.seq, new.name, new.description); END",
)
for _statement in SQLITE_SEARCH:
    event.listen(dataset_texts, "after_create", DDL(_statement).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]


class RunColumns(TypedColumns):
    """Runs of a stage, at work or ended."""

    run_id: Named[str] = Column(String(32), primary_key=True)
    dataset_id: Named[str] = Column(String(40), ForeignKey("datasets.dataset_id"), index=True)
    attempt: Named[int] = Column(Integer)
    stage: Named[Stage] = Column(_text_of(Stage, 16))
    worker: Named[str] = Column(Text)
    begun_at: Named[float] = Column(Float(53))
    published_at: Named[float | None] = Column(Float(53))
    ended_at: Named[float | None] = Column(Float(53))
    # How it ended, and the answer its worker got. A repeated report gets the same answer.
    outcome: Named[Outcome | None] = Column(_text_of(Outcome, 16))
    answer: Named[Answer | None] = Column(_text_of(Answer, 16))
    next_attempt: Named[int | None] = Column(Integer)
    bytes_downloaded: Named[int] = Column(BigInteger)
    bytes_total: Named[int | None] = Column(BigInteger)
    tiles_done: Named[int] = Column(BigInteger)
    tiles_total: Named[int | None] = Column(BigInteger)
    stage_percent: Named[float | None] = Column(Float(53))
    # The host that it asked last, if it reported one other than its URL's (ingest).
    host_hash: Named[str | None] = Column(String(16))


runs = Table(
    "runs",
    metadata,
    RunColumns,
    Index("ix_runs_stage_published_at", "stage", "published_at"),
    Index("ix_runs_ended_at", "ended_at", "run_id"),
)


class PyramidColumns(TypedColumns):
    """The build that counts for each tile_id."""

    tile_id: Named[str] = Column(String(64), primary_key=True)
    build: Named[str] = Column(String(32))
    deleting: Named[bool] = Column(Boolean)
    # Its files are missing. It is still shown, and another build may replace it.
    lost: Named[bool] = Column(Boolean, server_default=false())
    width: Named[int] = Column(Integer)
    height: Named[int] = Column(Integer)
    tile_size: Named[int] = Column(Integer)
    format: Named[TileFormat] = Column(_text_of(TileFormat, 8))
    tile_count: Named[int] = Column(BigInteger)
    bytes: Named[int] = Column(BigInteger)
    created_at: Named[float] = Column(Float(53))
    # Code and message of each.
    warnings: Named[list[list[str]]] = Column(JSON, server_default="[]")
    # How samples became 8 bits: the rule, and the samples that became 0 and 255.
    stretch: Named[list[str | float] | None] = Column(JSON(none_as_null=True))
    # The channels that were composed: number, name, colour, and the figures of each as in `stretch`.
    channels: Named[list[list[str | float]] | None] = Column(JSON(none_as_null=True))
    # What else is known of it: a Pyramid as JSON. Empty if nothing is.
    more: Named[str] = Column(Text, server_default="")
    # If all pages of a source are shown: how many, in the row of the first one; in those of the others, the first one's
    # tile_id; and the number of each in the source.
    pages: Named[int | None] = Column(Integer)
    first_page: Named[str | None] = Column(String(64))
    page: Named[int | None] = Column(Integer)


_FURTHER_PAGE = text("first_page IS NOT NULL")

pyramids = Table(
    "pyramids",
    metadata,
    PyramidColumns,
    Index(
        "ix_pyramids_first_page",
        "first_page",
        "page",
        sqlite_where=_FURTHER_PAGE,
        postgresql_where=_FURTHER_PAGE,
    ),
)


class VersionColumns(TypedColumns):
    """Pyramids that datasets have shown, and the sources that they were made of. They are no garbage."""

    seq: Named[int] = Column(RisingKey, primary_key=True, autoincrement=True)
    dataset_id: Named[str] = Column(String(40))
    tile_id: Named[str] = Column(String(64), index=True)
    pyramid_version: Named[int] = Column(Integer)
    source_sha256: Named[str] = Column(String(64))
    source_bytes: Named[int] = Column(BigInteger)
    source_modified: Named[str] = Column(Text)
    created_at: Named[float] = Column(Float(53))
    replaced_at: Named[float] = Column(Float(53), index=True)


versions = Table(
    "versions",
    metadata,
    VersionColumns,
    Index("ix_versions_dataset_id", "dataset_id", "seq"),
    sqlite_autoincrement=True,
)


class GarbageColumns(TypedColumns):
    """What a janitor is deleting from storage."""

    prefix: Named[str] = Column(Text, primary_key=True)
    leased_until: Named[float] = Column(Float(53), index=True)


garbage = Table("garbage", metadata, GarbageColumns)


class IdempotencyColumns(TypedColumns):
    """Idempotency keys and the datasets they created."""

    key: Named[str] = Column(String(255), primary_key=True)
    request_hash: Named[str] = Column(String(64))
    dataset_id: Named[str] = Column(String(40))
    created_at: Named[float] = Column(Float(53), index=True)


idempotency = Table("idempotency", metadata, IdempotencyColumns)


class FormerIdColumns(TypedColumns):
    """Ids of purged datasets: an id is never used twice."""

    dataset_id: Named[str] = Column(String(40), primary_key=True)


former_ids = Table("former_ids", metadata, FormerIdColumns)


class ChangeColumns(TypedColumns):
    """What harvesters read: see repository/changes.py."""

    # Decides the page. It has gaps where changes were removed.
    seq: Named[int] = Column(RisingKey, primary_key=True, autoincrement=True)
    dataset_id: Named[str] = Column(String(40))
    change: Named[Change] = Column(_text_of(Change, 8))
    began_at: Named[float | None] = Column(Float(53))
    ended_at: Named[float] = Column(Float(53))
    # Whether a later change of the same dataset followed.
    overtaken: Named[bool] = Column(Boolean, server_default=false())


changes = Table(
    "changes",
    metadata,
    ChangeColumns,
    Index("ix_changes_dataset_id", "dataset_id", "seq"),
    # Those that may be purged.
    Index(
        "ix_changes_overtaken",
        "ended_at",
        sqlite_where=text("overtaken = 1"),
        postgresql_where=text("overtaken"),
    ),
    sqlite_autoincrement=True,
)


class HostColumns(TypedColumns):
    """Hosts that refused a connection or asked to be left alone: see repository/places.py."""

    host_hash: Named[str] = Column(String(16), primary_key=True)
    # How many downloads it allows, since when, and after how many seconds it is tried with one more.
    places: Named[int | None] = Column(Integer)
    since: Named[float] = Column(Float(53))
    growth: Named[float] = Column(Float(53))
    blocked_until: Named[float | None] = Column(Float(53))


hosts = Table("hosts", metadata, HostColumns)

HOST = "host:"
"""Before the host_hash in `held_by`. It sorts after all ids of datasets."""


class FactColumns(TypedColumns):
    """What the database knows about itself and its storage."""

    name: Named[str] = Column(String(64), primary_key=True)
    value: Named[str] = Column(Text)


facts = Table("facts", metadata, FactColumns)


class ClaimColumns(TypedColumns):
    """The one row by which a service that lost the database is fenced off."""

    name: Named[str] = Column(String(16), primary_key=True)
    # Each service that takes the database increments it, and each of its writes checks it.
    epoch: Named[int] = Column(BigInteger)


claim = Table("claim", metadata, ClaimColumns)
