"""Further options of a dataset, and warnings about a pyramid"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.add_column(sa.Column("more_options", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    with op.batch_alter_table("pyramids") as batch_op:
        batch_op.drop_column("warnings")
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.drop_column("more_options")
