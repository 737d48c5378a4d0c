"""To be written."""

revision = "0002_freezes_and_books"
down_revision = "0001_first_schema"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
