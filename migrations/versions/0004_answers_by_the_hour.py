"""answers by the hour"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer_hours",
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("hour", Instant(), nullable=False),
        sa.Column(
            "status_class", sa.SmallInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("answers", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("answers > 0", name="ck_answer_hours_answers"),
        sa.PrimaryKeyConstraint(
            "organization_id", "hour", "status_class", "latency_ms", name="pk_answer_hours"
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_answer_hours_hour", "answer_hours", ["hour"], unique=False)


def downgrade() -> None:
    op.drop_table("answer_hours")
