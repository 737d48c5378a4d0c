"""To be written."""

revision = "0003_payments"
down_revision = "0002_freezes_and_books"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
