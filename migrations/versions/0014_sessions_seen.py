"""the newest cookie of a session that came back: the answer that brings one may be lost"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE sessions ADD COLUMN seen INTEGER NOT NULL DEFAULT 1")
    op.execute("UPDATE sessions SET seen = generation")


def downgrade() -> None:
    op.execute("ALTER TABLE sessions DROP COLUMN seen")
