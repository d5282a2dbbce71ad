"""The changes that harvesters read; what is ready now was created"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0018"

READY = """
INSERT INTO changes (dataset_id, change, began_at, ended_at)
SELECT dataset_id, 'CREATE', created_at, COALESCE(finished_at, created_at) FROM datasets
WHERE state = 'READY' AND deleted_at IS NULL AND kind = 'dataset'
ORDER BY COALESCE(finished_at, created_at), seq
"""


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("change", sa.String(length=8), nullable=False),
        sa.Column("began_at", sa.Float(precision=53), nullable=True),
        sa.Column("ended_at", sa.Float(precision=53), nullable=False),
        sa.Column("overtaken", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("seq", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_dataset_id", "changes", ["dataset_id", "seq"])
    op.create_index(
        "ix_changes_overtaken",
        "changes",
        ["ended_at"],
        sqlite_where=sa.text("overtaken = 1"),
        postgresql_where=sa.text("overtaken"),
    )
    op.execute(READY)


def downgrade() -> None:
    op.drop_table("changes")
