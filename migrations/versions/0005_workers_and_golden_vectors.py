"""workers: orders, reports, golden vectors"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "golden_rows",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
        sa.Column("pinned_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "revision", name="pk_golden_rows"),
        sqlite_strict=True,
    )
    op.create_table(
        "worker_orders",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("wish", sa.Text(), nullable=False),
        sa.Column("checks", sa.Integer(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.CheckConstraint("wish IN ('serve', 'drain')", name="ck_worker_orders_wish"),
        sa.PrimaryKeyConstraint("model_id", "url", name="pk_worker_orders"),
        sqlite_strict=True,
    )
    op.create_table(
        "worker_reports",
        sa.Column("gateway_id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", "model_id", "url", name="pk_worker_reports"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("worker_reports")
    op.drop_table("worker_orders")
    op.drop_table("golden_rows")
