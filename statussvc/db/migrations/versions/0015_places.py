"""How many downloads a host allows, and who waits for that"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("host_hash", sa.String(length=16), nullable=False),
        sa.Column("places", sa.Integer(), nullable=True),
        sa.Column("since", sa.Float(precision=53), nullable=False),
        sa.Column("growth", sa.Float(precision=53), nullable=False),
        sa.Column("blocked_until", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("host_hash", name="pk_hosts"),
    )
    op.add_column("datasets", sa.Column("held_places", sa.Integer(), nullable=True))
    op.add_column("datasets", sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("datasets", sa.Column("waited", sa.Float(precision=53), nullable=False, server_default="0"))


def downgrade() -> None:
    for column in ("waited", "refusals", "held_places"):
        op.drop_column("datasets", column)
    op.drop_table("hosts")
