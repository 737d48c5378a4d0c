"""how long mails are tried, who was told of a launch, demand by the month"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("give_up_at", Instant(), nullable=True))
    op.create_table(
        "demand_months",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("count > 0", name="ck_demand_months_count"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_demand_months_model_id"),
        sa.PrimaryKeyConstraint("model_id", "kind", "month", name="pk_demand_months"),
        sqlite_strict=True,
    )
    op.add_column("launches", sa.Column("began_at", Instant(), nullable=True))
    op.create_table(
        "launch_organizations",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("decided_at", Instant(), nullable=False),
        sa.Column("told_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "credit IN ('granted', 'granted_before', 'disposable', 'budget', 'off')",
            name="ck_launch_organizations_credit",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_launch_organizations_model_id"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="fk_launch_organizations_organization_id",
        ),
        sa.PrimaryKeyConstraint("model_id", "organization_id", name="pk_launch_organizations"),
        sqlite_strict=True,
    )
    # who was told before is known by the credit
    op.execute(
        "INSERT INTO launch_organizations "
        "(model_id, organization_id, credit, decided_at, told_at) "
        "SELECT m.id, l.organization_id, 'granted', l.created_at, l.created_at "
        "FROM credit_lots l JOIN models m "
        "ON l.source_ref = 'launch:' || m.id || ':' || CAST(l.organization_id AS text) "
        "WHERE l.source_ref LIKE 'launch:%'"
    )


def downgrade() -> None:
    op.drop_table("launch_organizations")
    op.drop_column("launches", "began_at")
    op.drop_table("demand_months")
    op.drop_column("outbox", "give_up_at")
