"""How large a pixel of a pyramid is, and what else is known of it"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("pyramids", sa.Column("more", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("pyramids", "more")
