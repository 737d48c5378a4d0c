"""the first schema"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant, Nanos

_APPEND_ONLY = ("ledger_entries", "usage_events")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("state IN ('coming_soon', 'live', 'retired')", name="ck_models_state"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sqlite_strict=True,
    )
    op.create_table(
        "organizations",
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name="ck_organizations_name"),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
        sqlite_strict=True,
    )
    op.create_table(
        "accounts",
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("available_nanos", Nanos, nullable=False),
        sa.Column("reserved_nanos", Nanos, nullable=False),
        sa.CheckConstraint(
            "available_nanos BETWEEN 0 AND 9007199254740991", name="ck_accounts_available_nanos"
        ),
        sa.CheckConstraint(
            "reserved_nanos BETWEEN 0 AND 9007199254740991", name="ck_accounts_reserved_nanos"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_accounts_organization_id"
        ),
        sa.PrimaryKeyConstraint("organization_id", name="pk_accounts"),
        sqlite_strict=True,
    )
    op.create_table(
        "api_keys",
        sa.Column("id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("last_four", sa.Text(), nullable=False),
        sa.Column("token_ids_from", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.CheckConstraint("token_ids_from IN ('model')", name="ck_api_keys_token_ids_from"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name="ck_api_keys_name"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_api_keys_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sqlite_strict=True,
    )
    op.create_index("ix_api_keys_changed_at", "api_keys", ["changed_at"], unique=False)
    op.create_index("ix_api_keys_organization_id", "api_keys", ["organization_id"], unique=False)
    op.create_table(
        "model_prices",
        sa.Column("id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("nanos_per_million_tokens", Nanos, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "nanos_per_million_tokens BETWEEN 0 AND 9007199254740991",
            name="ck_model_prices_nanos_per_million_tokens",
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_prices_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_model_prices"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_model_prices_model_id_created_at",
        "model_prices",
        ["model_id", "created_at"],
        unique=False,
    )
    op.create_table(
        "credit_lots",
        sa.Column("id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_nanos", Nanos, nullable=False),
        sa.Column("remaining_nanos", Nanos, nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.CheckConstraint("kind IN ('promo', 'paid')", name="ck_credit_lots_kind"),
        sa.CheckConstraint(
            "amount_nanos BETWEEN 1 AND 9007199254740991", name="ck_credit_lots_amount_nanos"
        ),
        sa.CheckConstraint("remaining_nanos <= amount_nanos", name="ck_credit_lots_remaining"),
        sa.CheckConstraint(
            "remaining_nanos BETWEEN 0 AND 9007199254740991", name="ck_credit_lots_remaining_nanos"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["accounts.organization_id"], name="fk_credit_lots_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credit_lots"),
        sa.UniqueConstraint("source_ref", name="uq_credit_lots_source_ref"),
        sqlite_strict=True,
    )
    op.create_index("ix_credit_lots_expires_at", "credit_lots", ["expires_at"], unique=False)
    op.create_index(
        "ix_credit_lots_organization_id", "credit_lots", ["organization_id"], unique=False
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", Nanos, autoincrement=True, nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", Id(), nullable=False),
        sa.Column("amount_nanos", Nanos, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("kind IN ('grant', 'usage', 'expiry')", name="ck_ledger_entries_kind"),
        sa.CheckConstraint(
            "amount_nanos BETWEEN -9007199254740991 AND 9007199254740991",
            name="ck_ledger_entries_amount_nanos",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["accounts.organization_id"],
            name="fk_ledger_entries_organization_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entries"),
        sa.UniqueConstraint("kind", "ref", name="uq_ledger_entries_kind_ref"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_ledger_entries_organization_id_id",
        "ledger_entries",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_table(
        "reservations",
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("cost_nanos", Nanos, nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "cost_nanos BETWEEN 0 AND 9007199254740991", name="ck_reservations_cost_nanos"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["accounts.organization_id"],
            name="fk_reservations_organization_id",
        ),
        sa.PrimaryKeyConstraint("request_id", name="pk_reservations"),
        sqlite_strict=True,
    )
    op.create_index("ix_reservations_expires_at", "reservations", ["expires_at"], unique=False)
    op.create_index(
        "ix_reservations_organization_id", "reservations", ["organization_id"], unique=False
    )
    op.create_table(
        "usage_events",
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("key_id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("price_id", Id(), nullable=False),
        sa.Column("inputs", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("cost_nanos", Nanos, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "cost_nanos BETWEEN 0 AND 9007199254740991", name="ck_usage_events_cost_nanos"
        ),
        sa.CheckConstraint("inputs > 0 AND tokens > 0", name="ck_usage_events_counts"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_usage_events_key_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_usage_events_model_id"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["accounts.organization_id"],
            name="fk_usage_events_organization_id",
        ),
        sa.ForeignKeyConstraint(["price_id"], ["model_prices.id"], name="fk_usage_events_price_id"),
        sa.PrimaryKeyConstraint("request_id", name="pk_usage_events"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_usage_events_organization_id_created_at",
        "usage_events",
        ["organization_id", "created_at"],
        unique=False,
    )
    for table in _APPEND_ONLY:
        _append_only(table)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _APPEND_ONLY:
            op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        op.execute("DROP FUNCTION refuse_change")
    op.drop_index("ix_usage_events_organization_id_created_at", table_name="usage_events")
    op.drop_table("usage_events")
    op.drop_index("ix_reservations_organization_id", table_name="reservations")
    op.drop_index("ix_reservations_expires_at", table_name="reservations")
    op.drop_table("reservations")
    op.drop_index("ix_ledger_entries_organization_id_id", table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index("ix_credit_lots_organization_id", table_name="credit_lots")
    op.drop_index("ix_credit_lots_expires_at", table_name="credit_lots")
    op.drop_table("credit_lots")
    op.drop_index("ix_model_prices_model_id_created_at", table_name="model_prices")
    op.drop_table("model_prices")
    op.drop_index("ix_api_keys_organization_id", table_name="api_keys")
    op.drop_index("ix_api_keys_changed_at", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("accounts")
    op.drop_table("organizations")
    op.drop_table("models")


def _append_only(table: str) -> None:
    """Make the database itself refuse to change or remove a row of history."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
