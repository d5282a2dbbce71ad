"""Each host has its own queue, and deleted rows are in none"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

NOT_DELETED = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.drop_index("ix_datasets_by_host", "datasets")
    op.drop_index("ix_datasets_outbox", "datasets")
    for name, columns in {
        "ix_datasets_by_host": ["state", "host_hash", "published_at", "seq"],
        "ix_datasets_outbox": ["state", "published_at", "seq"],
    }.items():
        op.create_index(name, "datasets", columns, sqlite_where=NOT_DELETED, postgresql_where=NOT_DELETED)


def downgrade() -> None:
    op.drop_index("ix_datasets_outbox", "datasets")
    op.drop_index("ix_datasets_by_host", "datasets")
    op.create_index("ix_datasets_by_host", "datasets", ["state", "host_hash"])
    op.create_index("ix_datasets_outbox", "datasets", ["state", "published_at", "seq"])
