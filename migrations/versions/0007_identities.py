"""accounts elsewhere that sign in here"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", Id(), nullable=True),
        sa.Column("connected_at", Instant(), nullable=False),
        sa.CheckConstraint("provider IN ('github')", name="ck_identities_provider"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_identities_user_id"),
        sa.PrimaryKeyConstraint("provider", "digest", name="pk_identities"),
        sqlite_strict=True,
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_table("identities")
