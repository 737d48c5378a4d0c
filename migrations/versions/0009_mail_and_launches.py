"""how long mails are tried"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Instant

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("give_up_at", Instant(), nullable=True))


def downgrade() -> None:
    op.drop_column("outbox", "give_up_at")
