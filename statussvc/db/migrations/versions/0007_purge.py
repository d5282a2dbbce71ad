"""Indexes by age for the purge, and the ids of purged datasets"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

DELETED = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "former_ids",
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_former_ids")),
    )
    op.create_index("ix_datasets_deleted", "datasets", ["deleted_at"], sqlite_where=DELETED, postgresql_where=DELETED)
    op.create_index(op.f("ix_runs_ended_at"), "runs", ["ended_at", "run_id"])
    op.create_index(op.f("ix_garbage_leased_until"), "garbage", ["leased_until"])


def downgrade() -> None:
    op.drop_index(op.f("ix_garbage_leased_until"), "garbage")
    op.drop_index(op.f("ix_runs_ended_at"), "runs")
    op.drop_index("ix_datasets_deleted", "datasets")
    op.drop_table("former_ids")
