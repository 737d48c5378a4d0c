"""limits of the pages that hold across processes"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Instant

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quota_windows",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("began_at", Instant(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.CheckConstraint("used > 0", name="ck_quota_windows_used"),
        sa.PrimaryKeyConstraint("digest", name="pk_quota_windows"),
        sqlite_strict=True,
    )
    op.create_index("ix_quota_windows_began_at", "quota_windows", ["began_at"], unique=False)


def downgrade() -> None:
    op.drop_table("quota_windows")
