"""people, demand and mail"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant, Nanos

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_keys",
        sa.Column(
            "truncate",
            sa.Text(),
            sa.CheckConstraint("truncate IN ('end', 'start')", name="ck_api_keys_truncate"),
            nullable=True,
        ),
    )
    op.create_table(
        "mail_links",
        sa.Column("id", Id(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('sign_in', 'waitlist', 'invitation')", name="ck_mail_links_purpose"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mail_links"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_mail_links_email_created_at", "mail_links", ["email", "created_at"], unique=False
    )
    op.create_index("ix_mail_links_expires_at", "mail_links", ["expires_at"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", Id(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("unsubscribe_url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'sent', 'failed', 'unknown')", name="ck_outbox_state"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("ref", name="uq_outbox_ref"),
        sqlite_strict=True,
    )
    op.create_index("ix_outbox_state_due_at", "outbox", ["state", "due_at"], unique=False)

    op.create_table(
        "promotion_days",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("granted_nanos", Nanos, nullable=False),
        sa.CheckConstraint(
            "granted_nanos BETWEEN 0 AND 9007199254740991", name="ck_promotion_days_granted_nanos"
        ),
        sa.PrimaryKeyConstraint("day", name="pk_promotion_days"),
        sqlite_strict=True,
    )
    op.create_table(
        "unsubscriptions",
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("email", name="pk_unsubscriptions"),
        sqlite_strict=True,
    )
    op.create_table(
        "users",
        sa.Column("id", Id(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("address_key", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("deleted_at", Instant(), nullable=True),
        sa.Column("welcome", sa.Text(), nullable=False),
        sa.CheckConstraint("(deleted_at IS NULL) = (email IS NOT NULL)", name="ck_users_deleted"),
        sa.CheckConstraint("length(email) <= 254", name="ck_users_email"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sqlite_strict=True,
    )
    op.create_index("ix_users_address_key", "users", ["address_key"], unique=False)

    op.create_table(
        "demand_events",
        sa.Column("id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("organization_id", Id(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('view', 'call', 'vote', 'withdraw', 'waitlist', 'leave', 'notified')",
            name="ck_demand_events_kind",
        ),
        sa.CheckConstraint("count > 0", name="ck_demand_events_count"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_demand_events_model_id"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_demand_events_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_demand_events"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_demand_events_model_id_kind_created_at",
        "demand_events",
        ["model_id", "kind", "created_at"],
        unique=False,
    )

    op.create_table(
        "demand_votes",
        sa.Column("id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("voter_key", sa.Text(), nullable=False),
        sa.Column("volume_million_tokens", sa.Integer(), nullable=True),
        sa.Column("price_max_nanos", Nanos, nullable=True),
        sa.Column("use_case", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("length(use_case) <= 500", name="ck_demand_votes_use_case"),
        sa.CheckConstraint(
            "price_max_nanos BETWEEN 0 AND 9007199254740991", name="ck_demand_votes_price_max_nanos"
        ),
        sa.CheckConstraint(
            "volume_million_tokens BETWEEN 1 AND 1000000000", name="ck_demand_votes_volume"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_demand_votes_model_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_demand_votes_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_demand_votes"),
        sa.UniqueConstraint("model_id", "voter_key", name="uq_demand_votes_model_id_voter_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_demand_votes_user_id", "demand_votes", ["user_id"], unique=False)

    op.create_table(
        "incidents",
        sa.Column("id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_incidents_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
        sqlite_strict=True,
    )
    op.create_index("ix_incidents_started_at", "incidents", ["started_at"], unique=False)
    op.create_index(
        "uq_incidents_open",
        "incidents",
        ["model_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )

    op.create_table(
        "memberships",
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'member')", name="ck_memberships_role"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_memberships_organization_id"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id"),
        sa.PrimaryKeyConstraint("user_id", "organization_id", name="pk_memberships"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_memberships_organization_id", "memberships", ["organization_id"], unique=False
    )

    op.create_table(
        "sessions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("rotated_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_sessions_organization_id"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sqlite_strict=True,
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"], unique=False)

    op.create_table(
        "waitlist_entries",
        sa.Column("id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("user_id", Id(), nullable=True),
        sa.Column("confirmed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_waitlist_entries_model_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_waitlist_entries_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_waitlist_entries"),
        sa.UniqueConstraint(
            "model_id", "address_key", name="uq_waitlist_entries_model_id_address_key"
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_waitlist_entries_user_id", "waitlist_entries", ["user_id"], unique=False)

    op.create_table(
        "launches",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("price_id", Id(), nullable=False),
        sa.Column("launched_at", Instant(), nullable=False),
        sa.Column("announced_at", Instant(), nullable=True),
        sa.Column("recipients", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_launches_model_id"),
        sa.ForeignKeyConstraint(["price_id"], ["model_prices.id"], name="fk_launches_price_id"),
        sa.PrimaryKeyConstraint("model_id", name="pk_launches"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as batch:
        batch.drop_constraint("ck_api_keys_truncate", type_="check")
        batch.drop_column("truncate")
    op.drop_table("launches")
    op.drop_table("waitlist_entries")
    op.drop_table("sessions")
    op.drop_table("memberships")
    op.drop_table("incidents")
    op.drop_table("demand_votes")
    op.drop_table("demand_events")
    op.drop_table("users")
    op.drop_table("unsubscriptions")
    op.drop_table("promotion_days")
    op.drop_table("outbox")
    op.drop_table("mail_links")
