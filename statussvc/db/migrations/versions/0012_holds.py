"""Waiting rows are held, and the indexes of the outbox leave them out"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

NOT_DELETED = sa.text("deleted_at IS NULL")
WAITS = sa.text("deleted_at IS NULL AND held_by IS NULL")
HELD = sa.text("deleted_at IS NULL AND held_by IS NOT NULL")
DOWNLOADS = sa.text("deleted_at IS NULL AND state IN ('QUEUED', 'DOWNLOADING')")

QUEUES = {
    "ix_datasets_by_host": ["state", "host_hash", "published_at", "seq"],
    "ix_datasets_outbox": ["state", "published_at", "seq"],
}


def upgrade() -> None:
    op.add_column("datasets", sa.Column("held_by", sa.String(length=40), nullable=True))
    for name, columns in QUEUES.items():
        op.drop_index(name, "datasets")
        op.create_index(name, "datasets", columns, sqlite_where=WAITS, postgresql_where=WAITS)
    op.create_index("ix_datasets_held", "datasets", ["held_by", "seq"], sqlite_where=HELD, postgresql_where=HELD)
    op.create_index(
        "ix_datasets_same_url",
        "datasets",
        ["url_hash", "held_by", "state", "seq"],
        sqlite_where=DOWNLOADS,
        postgresql_where=DOWNLOADS,
    )


def downgrade() -> None:
    op.drop_index("ix_datasets_same_url", "datasets")
    op.drop_index("ix_datasets_held", "datasets")
    for name, columns in QUEUES.items():
        op.drop_index(name, "datasets")
        op.create_index(name, "datasets", columns, sqlite_where=NOT_DELETED, postgresql_where=NOT_DELETED)
    op.drop_column("datasets", "held_by")
