"""An invitation says which role it gives."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0017_invited_roles"
down_revision = "0016_ledger_tick"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mail_links", Column("role", Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("mail_links", "role")
