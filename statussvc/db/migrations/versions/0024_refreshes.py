"""Refreshes, and the pyramids that they replace"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("owner", sa.String(length=40), nullable=True))
    op.add_column("datasets", sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("datasets", sa.Column("refresh_id", sa.String(length=40), nullable=True))
    op.add_column("datasets", sa.Column("last_refresh", sa.Text(), nullable=True))
    op.create_table(
        "versions",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("tile_id", sa.String(length=64), nullable=False),
        sa.Column("pyramid_version", sa.Integer(), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("source_bytes", sa.BigInteger(), nullable=False),
        sa.Column("source_modified", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("replaced_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_versions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_versions_dataset_id", "versions", ["dataset_id", "seq"])
    op.create_index("ix_versions_tile_id", "versions", ["tile_id"])
    op.create_index("ix_versions_replaced_at", "versions", ["replaced_at"])


def downgrade() -> None:
    op.drop_table("versions")
    for column in ("last_refresh", "refresh_id", "forced", "owner"):
        op.drop_column("datasets", column)
