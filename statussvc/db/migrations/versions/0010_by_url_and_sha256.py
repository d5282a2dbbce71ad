"""The catalogue is filtered by URL and by SHA-256"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_index("ix_datasets_url_hash", "datasets")
    op.create_index("ix_datasets_url_hash", "datasets", ["url_hash", "seq"])
    op.create_index("ix_datasets_url_hash_and_state", "datasets", ["url_hash", "state", "seq"])
    op.create_index("ix_datasets_source_sha256", "datasets", ["source_sha256", "seq"])


def downgrade() -> None:
    op.drop_index("ix_datasets_source_sha256", "datasets")
    op.drop_index("ix_datasets_url_hash_and_state", "datasets")
    op.drop_index("ix_datasets_url_hash", "datasets")
    op.create_index("ix_datasets_url_hash", "datasets", ["url_hash"])
