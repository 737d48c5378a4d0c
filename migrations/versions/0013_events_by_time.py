"""events of demand by their time: what is old is folded into months without reading the rest"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_demand_events_created_at", "demand_events", ["created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_demand_events_created_at", "demand_events")
