"""Customers are mailed before a price rises.

What the column means: gateway/storage/tables/catalog.py.
"""

from alembic import op
from sqlalchemy import Column

from migrations.types import Instant

revision = "0015_price_mails"
down_revision = "0014_indexes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("price_changes", Column("announced_at", Instant))
    op.execute("UPDATE price_changes SET announced_at = created_at")


def downgrade() -> None:
    op.drop_column("price_changes", "announced_at")
