"""The host of a source, by which slots are shared"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.add_column(sa.Column("host_hash", sa.String(length=16), nullable=True))
        batch_op.create_index("ix_datasets_by_host", ["state", "host_hash"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("datasets", table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_index("ix_datasets_by_host")
        batch_op.drop_column("host_hash")
