"""who made a key, and sessions that moved because a membership ended; links by their subject"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # plain SQL, because SQLite would rebuild the table; of older keys nobody knows
    kind = "UUID" if op.get_context().dialect.name == "postgresql" else "TEXT"
    op.execute(
        f"ALTER TABLE api_keys ADD COLUMN created_by {kind} "
        "CONSTRAINT fk_api_keys_created_by REFERENCES users (id)"
    )
    op.execute(
        f"ALTER TABLE sessions ADD COLUMN removed_from {kind} "
        "CONSTRAINT fk_sessions_removed_from REFERENCES organizations (id)"
    )
    op.create_index("ix_api_keys_created_by", "api_keys", ["created_by"])
    op.create_index("ix_mail_links_subject", "mail_links", ["subject"])


def downgrade() -> None:
    op.drop_index("ix_mail_links_subject", "mail_links")
    op.execute("ALTER TABLE sessions DROP COLUMN removed_from")
    op.drop_index("ix_api_keys_created_by", "api_keys")
    op.execute("ALTER TABLE api_keys DROP COLUMN created_by")
