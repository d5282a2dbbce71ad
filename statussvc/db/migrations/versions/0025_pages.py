"""Pyramids of the further pages of a source"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

FURTHER_PAGE = sa.text("first_page IS NOT NULL")


def upgrade() -> None:
    op.add_column("pyramids", sa.Column("pages", sa.Integer(), nullable=True))
    op.add_column("pyramids", sa.Column("first_page", sa.String(length=64), nullable=True))
    op.add_column("pyramids", sa.Column("page", sa.Integer(), nullable=True))
    op.create_index(
        "ix_pyramids_first_page",
        "pyramids",
        ["first_page", "page"],
        sqlite_where=FURTHER_PAGE,
        postgresql_where=FURTHER_PAGE,
    )


def downgrade() -> None:
    op.drop_index("ix_pyramids_first_page", "pyramids")
    for column in ("page", "first_page", "pages"):
        op.drop_column("pyramids", column)
