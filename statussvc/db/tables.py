"""The tables. Times are seconds since the Unix epoch, UTC, so that both databases hold and compare them alike."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    }
)

# SQLite gives rising row ids to INTEGER keys only.
RisingKey = BigInteger().with_variant(Integer, "sqlite")

datasets = Table(
    "datasets",
    metadata,
    Column("seq", RisingKey, primary_key=True, autoincrement=True),
    Column("dataset_id", String(40), nullable=False, unique=True),
    # A dataset, or an inspection: the same rules of begin, beat and outcome.
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("url", Text, nullable=False),
    # What an index can hold of a URL of any length.
    Column("url_hash", String(64)),
    # Tells the sources' hosts apart: hex, so that every collation sorts it alike.
    Column("host_hash", String(16)),
    Column("expected_sha256", String(64), nullable=False),
    Column("tile_size", Integer, nullable=False),
    Column("tile_format", String(8), nullable=False),
    Column("tile_quality", Integer, nullable=False),
    Column("page", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("queued_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("finished_at", Float(53)),
    Column("deleted_at", Float(53)),
    # The outbox: a waiting row is published when due, and leased to one relay while it is.
    Column("not_before", Float(53)),
    Column("published_at", Float(53)),
    Column("leased_until", Float(53)),
    Column("run_id", String(32)),
    Column("source_key", Text),
    Column("source_sha256", String(64)),
    Column("source_bytes", BigInteger),
    Column("source_etag", Text),
    Column("source_modified", Text),
    Column("source_format", String(16)),
    Column("source_width", Integer),
    Column("source_height", Integer),
    Column("source_pages", Integer),
    Column("preview_key", Text),
    Column("preview_width", Integer),
    Column("preview_height", Integer),
    Column("report", Text),
    Column("tile_id", String(64)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_retryable", Boolean),
    Index("ix_datasets_outbox", "state", "published_at", "seq"),
    Index("ix_datasets_tile_id", "tile_id"),
    Index("ix_datasets_source_key", "source_key"),
    Index("ix_datasets_url_hash", "url_hash"),
    # Whose sources wait, and whose are fetched.
    Index("ix_datasets_by_host", "state", "host_hash"),
    # Inspections are few, and forgotten by their age.
    Index("ix_datasets_kind", "kind", "created_at"),
    # Each filter of the catalogue that picks few rows of many, in the order of its pages.
    Index("ix_datasets_by_state", "state", "seq"),
    Index("ix_datasets_by_category", "category", "seq"),
    Index("ix_datasets_by_subject", "subject", "seq"),
    # What may be purged: few of many.
    Index(
        "ix_datasets_deleted",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# What datasets are found by: see repository/searchable.py. Deleted ones have none.
dataset_texts = Table(
    "dataset_texts",
    metadata,
    Column("seq", RisingKey, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    # PostgreSQL's alone.
    Column("grams", ARRAY(BigInteger).with_variant(Text(), "sqlite")),
    Index("ix_dataset_texts_grams", "grams", postgresql_using="gin").ddl_if(dialect="postgresql"),
)

SQLITE_GRAMS = "dataset_grams"
"""SQLite's index of the trigrams in dataset_texts. Without their places, it is a fifth of the size."""

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

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("dataset_id", String(40), ForeignKey("datasets.dataset_id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("worker", Text, nullable=False),
    Column("begun_at", Float(53), nullable=False),
    Column("published_at", Float(53)),
    Column("ended_at", Float(53)),
    # How it ended, and the answer its outcome was given: the same answer is given again.
    Column("outcome", String(16)),
    Column("answer", String(16)),
    Column("next_attempt", Integer),
    Column("bytes_downloaded", BigInteger, nullable=False),
    Column("bytes_total", BigInteger),
    Column("tiles_done", BigInteger, nullable=False),
    Column("tiles_total", BigInteger),
    Column("stage_percent", Float(53)),
    Index("ix_runs_stage_published_at", "stage", "published_at"),
    Index("ix_runs_ended_at", "ended_at", "run_id"),
)

pyramids = Table(
    "pyramids",
    metadata,
    Column("tile_id", String(64), primary_key=True),
    Column("build", String(32), nullable=False),
    Column("deleting", Boolean, nullable=False),
    # Its files were missed: it is shown on, and another build may take its place.
    Column("lost", Boolean, nullable=False, server_default=false()),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("tile_size", Integer, nullable=False),
    Column("format", String(8), nullable=False),
    Column("tile_count", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Float(53), nullable=False),
)

garbage = Table(
    "garbage",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("leased_until", Float(53), nullable=False, index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("dataset_id", String(40), nullable=False),
    Column("created_at", Float(53), nullable=False, index=True),
)

# Of datasets that were purged: an id is never given twice.
former_ids = Table("former_ids", metadata, Column("dataset_id", String(40), primary_key=True))

# What the database knows of itself and of its storage.
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

claim = Table(
    "claim",
    metadata,
    Column("name", String(16), primary_key=True),
    # Raised by each service that takes the database, and read by each of its writes.
    Column("epoch", BigInteger, nullable=False),
)
