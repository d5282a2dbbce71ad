"""What is known about a source, options of tiles, and inspections"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXTS = ("source_etag", "source_modified", "preview_key", "report")
NUMBERS = ("source_width", "source_height", "source_pages", "preview_width", "preview_height")


def upgrade() -> None:
    with op.batch_alter_table("datasets") as batch_op:
        # Existing rows are datasets with default options. The server defaults are for them only.
        batch_op.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="dataset"))
        batch_op.add_column(sa.Column("url_hash", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("expected_sha256", sa.String(length=64), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("tile_format", sa.String(length=8), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("tile_quality", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("page", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("source_format", sa.String(length=16), nullable=True))
        for name in TEXTS:
            batch_op.add_column(sa.Column(name, sa.Text(), nullable=True))
        for name in NUMBERS:
            batch_op.add_column(sa.Column(name, sa.Integer(), nullable=True))
        batch_op.create_index("ix_datasets_url_hash", ["url_hash"], unique=False)
        batch_op.create_index("ix_datasets_kind", ["kind", "created_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("datasets", table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_index("ix_datasets_kind")
        batch_op.drop_index("ix_datasets_url_hash")
        for name in (*TEXTS, *NUMBERS, "source_format", "kind", "url_hash", "expected_sha256"):
            batch_op.drop_column(name)
        for name in ("tile_format", "tile_quality", "page"):
            batch_op.drop_column(name)
