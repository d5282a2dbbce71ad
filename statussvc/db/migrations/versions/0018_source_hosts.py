"""Which host a run downloads from, and which row has waited longest for one"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0022"

HELD_BY_HOST = sa.text("deleted_at IS NULL AND held_by >= 'host:'")


def upgrade() -> None:
    op.add_column("runs", sa.Column("host_hash", sa.String(length=16), nullable=True))
    op.create_index(
        "ix_datasets_held_by_host",
        "datasets",
        ["held_by", "queued_at", "seq"],
        sqlite_where=HELD_BY_HOST,
        postgresql_where=HELD_BY_HOST,
    )


def downgrade() -> None:
    op.drop_index("ix_datasets_held_by_host", "datasets")
    op.drop_column("runs", "host_hash")
