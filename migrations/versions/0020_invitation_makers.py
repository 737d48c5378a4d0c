"""An invitation knows who made it, and ends with their right to invite."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0020_invitation_makers"
down_revision = "0019_mac_secrets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mail_links", Column("maker", Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("mail_links", "maker")
