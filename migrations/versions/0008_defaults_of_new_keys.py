"""defaults of new keys, and mailed links counted by mailbox"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # plain SQL, because SQLite would rebuild the table for a constraint of its own
    op.execute(
        "ALTER TABLE organizations ADD COLUMN truncate TEXT "
        "CONSTRAINT ck_organizations_truncate CHECK (truncate IN ('end', 'start'))"
    )
    op.execute(
        "ALTER TABLE organizations ADD COLUMN token_ids_from TEXT "
        "CONSTRAINT ck_organizations_token_ids_from CHECK (token_ids_from IN ('model'))"
    )
    # links that are older count for no mailbox; they are good for half an hour
    op.execute("ALTER TABLE mail_links ADD COLUMN address_key TEXT NOT NULL DEFAULT ''")
    op.drop_index("ix_mail_links_email_created_at", "mail_links")
    op.create_index(
        "ix_mail_links_address_key_created_at", "mail_links", ["address_key", "created_at"]
    )
    op.create_index("ix_mail_links_email", "mail_links", ["email"])


def downgrade() -> None:
    op.drop_index("ix_mail_links_email", "mail_links")
    op.drop_index("ix_mail_links_address_key_created_at", "mail_links")
    op.create_index("ix_mail_links_email_created_at", "mail_links", ["email", "created_at"])
    op.execute("ALTER TABLE mail_links DROP COLUMN address_key")
    op.execute("ALTER TABLE organizations DROP COLUMN token_ids_from")
    op.execute("ALTER TABLE organizations DROP COLUMN truncate")
