"""To be written."""

revision = "0004_alerts"
down_revision = "0003_payments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
