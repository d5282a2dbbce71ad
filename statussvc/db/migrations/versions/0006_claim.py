"""The epoch of the service that has the database"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    claim = op.create_table(
        "claim",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claim")),
    )
    op.bulk_insert(claim, [{"name": "statussvc", "epoch": 0}])


def downgrade() -> None:
    op.drop_table("claim")
