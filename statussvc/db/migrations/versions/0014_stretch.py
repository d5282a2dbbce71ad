"""How the samples of a pyramid's source became 8 bits"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.add_column(sa.Column("stretch", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.drop_column("stretch")
