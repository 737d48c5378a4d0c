"""a lower price for work that may wait"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # plain SQL, because SQLite would rebuild the table for a constraint of its own
    op.execute(
        "ALTER TABLE model_prices ADD COLUMN tier TEXT NOT NULL DEFAULT 'default' "
        "CONSTRAINT ck_model_prices_tier CHECK (tier IN ('default', 'flex'))"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE model_prices DROP COLUMN tier")
