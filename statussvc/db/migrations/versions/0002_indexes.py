"""Indexes in the order of the outbox and of the catalogue's pages"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.drop_index("ix_datasets_page")
        batch_op.drop_index("ix_datasets_outbox")
        batch_op.create_index("ix_datasets_outbox", ["state", "published_at", "seq"], unique=False)
        batch_op.create_index("ix_datasets_by_state", ["state", "seq"], unique=False)
        batch_op.create_index("ix_datasets_by_category", ["category", "seq"], unique=False)
        batch_op.create_index("ix_datasets_by_subject", ["subject", "seq"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.drop_index("ix_datasets_by_subject")
        batch_op.drop_index("ix_datasets_by_category")
        batch_op.drop_index("ix_datasets_by_state")
        batch_op.drop_index("ix_datasets_outbox")
        batch_op.create_index("ix_datasets_outbox", ["state", "published_at"], unique=False)
        batch_op.create_index("ix_datasets_page", ["state", "category", "seq"], unique=False)
