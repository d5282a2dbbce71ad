"""The channels that a pyramid is composed of"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.add_column(sa.Column("channels", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.drop_column("channels")
