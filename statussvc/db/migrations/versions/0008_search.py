"""Folded texts for searches, and an index of their trigrams"""

import sqlite3
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from pipeline.errors import StatusUnavailable

revision = "0008"
down_revision = "0007"

BATCH = 100
"""Rows at once: a megabyte, and less than a second, however long their descriptions are."""

SQLITE = (
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
    "INSERT INTO dataset_grams (dataset_grams) VALUES ('rebuild')",
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        _require_trigrams()
    texts = op.create_table(
        "dataset_texts",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("grams", sa.ARRAY(sa.BigInteger()).with_variant(sa.Text(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_dataset_texts")),
    )
    for batch in _batches():
        op.get_bind().execute(texts.insert(), [_folded(*row, with_grams=not is_sqlite) for row in batch])
    if is_sqlite:
        for statement in SQLITE:
            op.execute(statement)
    else:
        op.create_index("ix_dataset_texts_grams", "dataset_texts", ["grams"], unique=False, postgresql_using="gin")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE dataset_grams")
    op.drop_table("dataset_texts")


def _require_trigrams() -> None:
    has_fts5 = op.get_bind().scalar(sa.text("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'"))
    if sqlite3.sqlite_version_info < (3, 34) or not has_fts5:
        raise StatusUnavailable(
            f"SQLite {sqlite3.sqlite_version}, as this Python has it, lacks the index that the search needs: it takes 3.34 "
            "or later, with FTS5. Use a Python that has one, or PostgreSQL. The database is as it was."
        )


def _batches() -> Iterator[Any]:
    rows = sa.text(
        "SELECT seq, name, description FROM datasets "
        "WHERE deleted_at IS NULL AND kind <> 'inspection' AND seq > :last ORDER BY seq LIMIT :batch"
    )
    last = 0
    while batch := op.get_bind().execute(rows, {"last": last, "batch": BATCH}).all():
        yield batch
        last = batch[-1].seq


def _folded(seq: int, *texts: str, with_grams: bool) -> dict[str, Any]:
    name, description = folded = [text.casefold() for text in texts]
    numbers = None
    if with_grams:
        grams = (gram for text in folded for gram in zip(*(map(ord, text[start:]) for start in range(3)), strict=False))
        numbers = sorted({first << 42 | second << 21 | third for first, second, third in grams})
    return {"seq": seq, "name": name, "description": description, "grams": numbers}
