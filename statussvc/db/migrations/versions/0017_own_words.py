"""A client's own id, tags and metadata"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

USED = sa.text("reference IS NOT NULL AND deleted_at IS NULL")


def upgrade() -> None:
    op.add_column("datasets", sa.Column("reference", sa.String(length=255), nullable=True))
    op.add_column("datasets", sa.Column("more_texts", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_datasets_reference", "datasets", ["reference"], unique=True, sqlite_where=USED, postgresql_where=USED
    )
    op.create_table(
        "dataset_labels",
        sa.Column("label_hash", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("label_hash", "seq", name="pk_dataset_labels"),
    )
    op.create_index("ix_dataset_labels_seq", "dataset_labels", ["seq"])


def downgrade() -> None:
    op.drop_table("dataset_labels")
    op.drop_index("ix_datasets_reference", "datasets")
    for column in ("more_texts", "reference"):
        op.drop_column("datasets", column)
