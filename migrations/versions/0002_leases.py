"""leases, budgets, double entry, usage by the day"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Id, Instant, Nanos

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOST = 9_007_199_254_740_991
_FUNCTIONS = Path(__file__).parents[1] / "functions" / "0002_ledger.sql"
_FUNCTION_NAMES = (
    "ledger_tick", "ledger_fenced", "ledger_lease", "ledger_keep", "ledger_debit", "ledger_post",
    "ledger_burn",
)  # fmt: skip
_KEPT = ("accounts", "credit_lots", "ledger_entries", "usage_events")
_Flag = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_Small = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")
_ROOM = {"postgresql_with": {"fillfactor": 50}}


def upgrade() -> None:
    for table in _KEPT:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")
    for table in ("usage_events", "reservations", "ledger_entries", "credit_lots", "accounts"):
        op.drop_table(table)
    _create_accounts()
    _create_lots()
    _create_leases()
    _create_entries("id")
    _create_usage()
    if _postgresql():
        op.execute("CREATE TABLE usage_events_rest PARTITION OF usage_events DEFAULT")
        for function in _FUNCTIONS.read_text().split("END $$;")[:-1]:
            op.get_bind().exec_driver_sql(f"{function}END $$")
    _carry_over()
    for table in _KEPT:
        op.drop_table(f"old_{table}")
    _append_only("ledger_entries")
    _append_only("usage_events", f"OLD.created_at > {_days_ago(31)}")


def downgrade() -> None:
    """Go back to the tables of 0001, empty: their one release never was."""
    if _postgresql():
        for name in _FUNCTION_NAMES:
            op.execute(f"DROP FUNCTION {name}")
    for table in (
        "usage_hours", "usage_events", "ledger_entries", "leases", "credit_lots", "accounts",
        "key_budgets",
    ):  # fmt: skip
        op.drop_table(table)
    op.create_table(
        "accounts",
        sa.Column("organization_id", Id(), nullable=False),
        *_nanos("accounts", "available_nanos"),
        *_nanos("accounts", "reserved_nanos"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_accounts_organization_id"
        ),
        sa.PrimaryKeyConstraint("organization_id", name="pk_accounts"),
        sqlite_strict=True,
    )
    _create_lots("organization_id")
    _create_entries("organization_id")
    op.create_table(
        "reservations",
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        *_nanos("reservations", "cost_nanos"),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["accounts.organization_id"],
            name="fk_reservations_organization_id",
        ),
        sa.PrimaryKeyConstraint("request_id", name="pk_reservations"),
        sqlite_strict=True,
    )
    op.create_index("ix_reservations_expires_at", "reservations", ["expires_at"])
    op.create_index("ix_reservations_organization_id", "reservations", ["organization_id"])
    op.create_table(
        "usage_events",
        *_usage_columns(),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_usage_events_key_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_usage_events_model_id"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["accounts.organization_id"],
            name="fk_usage_events_organization_id",
        ),
        sa.ForeignKeyConstraint(["price_id"], ["model_prices.id"], name="fk_usage_events_price_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_usage_events_organization_id_created_at",
        "usage_events",
        ["organization_id", "created_at"],
    )
    _append_only("ledger_entries")
    _append_only("usage_events")


def _create_accounts() -> None:
    op.create_table(
        "key_budgets",
        sa.Column("key_id", Id(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        *_nanos("key_budgets", "limit_nanos"),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.CheckConstraint("period IN ('month', 'total')", name="ck_key_budgets_period"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_key_budgets_key_id"),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_budgets"),
        sqlite_strict=True,
    )
    op.create_table(
        "accounts",
        sa.Column("id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("key_id", Id(), nullable=True),
        sa.Column("period", sa.Text(), nullable=True),
        *_nanos("accounts", "limit_nanos", nullable=True),
        *_nanos("accounts", "available_nanos"),
        *_nanos("accounts", "leased_nanos"),
        *_nanos("accounts", "owed_nanos"),
        *_nanos("accounts", "spent_nanos"),
        sa.Column("frozen", _Flag, nullable=False),
        sa.Column("recalled_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "(key_id IS NULL AND id = organization_id AND period IS NULL AND limit_nanos IS NULL) "
            "OR (key_id IS NOT NULL AND period IS NOT NULL AND limit_nanos IS NOT NULL)",
            name="ck_accounts_owner",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_accounts_organization_id"
        ),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_accounts_key_id"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("key_id", "period", name="uq_accounts_key_id_period"),
        sqlite_strict=True,
        **_ROOM,
    )
    op.create_index("ix_accounts_organization_id", "accounts", ["organization_id"])
    op.create_index(
        "ix_accounts_recalled_at",
        "accounts",
        ["recalled_at"],
        postgresql_where=sa.text("recalled_at IS NOT NULL"),
        sqlite_where=sa.text("recalled_at IS NOT NULL"),
    )


def _create_lots(account: str = "id") -> None:
    op.create_table(
        "credit_lots",
        sa.Column("id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        *_nanos("credit_lots", "amount_nanos", least=1),
        *_nanos("credit_lots", "remaining_nanos"),
        sa.Column("source_ref", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.CheckConstraint("kind IN ('promo', 'paid')", name="ck_credit_lots_kind"),
        sa.CheckConstraint("remaining_nanos <= amount_nanos", name="ck_credit_lots_remaining"),
        sa.ForeignKeyConstraint(
            ["organization_id"], [f"accounts.{account}"], name="fk_credit_lots_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credit_lots"),
        sa.UniqueConstraint("source_ref", name="uq_credit_lots_source_ref"),
        sqlite_strict=True,
        **_ROOM,
    )
    op.create_index("ix_credit_lots_expires_at", "credit_lots", ["expires_at"])
    op.create_index("ix_credit_lots_organization_id", "credit_lots", ["organization_id"])


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", Id(), nullable=False),
        sa.Column("account_id", Id(), nullable=False),
        sa.Column("replica_id", Id(), nullable=False),
        *_nanos("leases", "granted_nanos"),
        *_nanos("leases", "spent_nanos"),
        *_nanos("leases", "posted_nanos"),
        sa.Column("postings", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tick", Nanos, nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("returned_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'closed')", name="ck_leases_state"),
        sa.CheckConstraint("spent_nanos <= granted_nanos", name="ck_leases_spent"),
        sa.CheckConstraint("posted_nanos <= spent_nanos", name="ck_leases_posted"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_leases_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
        sqlite_strict=True,
        **_ROOM,
    )
    op.create_index(
        "ix_leases_open",
        "leases",
        ["account_id"],
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_leases_opened_at", "leases", ["opened_at"])


def _create_entries(account: str) -> None:
    """Create the ledger; with `organization_id`, as 0001 had it."""
    old = account == "organization_id"
    kinds = "'grant', 'usage', 'expiry'" + ("" if old else ", 'reversal'")
    both = () if old else (
        sa.Column("counterpart", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "counterpart IN ('revenue', 'promo_expense', 'breakage', 'stripe_clearing')",
            name="ck_ledger_entries_counterpart",
        ),
    )  # fmt: skip
    op.create_table(
        "ledger_entries",
        sa.Column("id", Nanos, autoincrement=True, nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", Id() if old else sa.Text(), nullable=False),
        *_nanos("ledger_entries", "amount_nanos", least=-_MOST),
        *both,
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint(f"kind IN ({kinds})", name="ck_ledger_entries_kind"),
        sa.ForeignKeyConstraint(
            ["organization_id"], [f"accounts.{account}"], name="fk_ledger_entries_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entries"),
        sa.UniqueConstraint("kind", "ref", name="uq_ledger_entries_kind_ref"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_ledger_entries_organization_id_id", "ledger_entries", ["organization_id", "id"]
    )


def _create_usage() -> None:
    op.create_table(
        "usage_events",
        *_usage_columns(),
        *_nanos("usage_events", "charged_nanos"),
        sa.Column("lease_id", Id(), nullable=True),
        sa.Column("budget_id", Id(), nullable=True),
        sa.Column("budget_lease_id", Id(), nullable=True),
        sa.CheckConstraint("charged_nanos IN (0, cost_nanos)", name="ck_usage_events_charged"),
        sqlite_strict=True,
        postgresql_partition_by="RANGE (request_id)",
    )
    op.create_index(
        "ix_usage_events_organization_id_request_id",
        "usage_events",
        ["organization_id", "request_id"],
    )
    op.create_table(
        "usage_hours",
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("hour", Instant(), nullable=False),
        sa.Column("key_id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("shard", _Small, nullable=False),
        sa.Column("requests", Nanos, nullable=False),
        sa.Column("inputs", Nanos, nullable=False),
        sa.Column("tokens", Nanos, nullable=False),
        *_nanos("usage_hours", "charged_nanos"),
        sa.PrimaryKeyConstraint(
            "organization_id", "hour", "key_id", "model_id", "shard", name="pk_usage_hours"
        ),
        sqlite_strict=True,
        **_ROOM,
    )


def _usage_columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("key_id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("price_id", Id(), nullable=False),
        sa.Column("inputs", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        *_nanos("usage_events", "cost_nanos"),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("inputs > 0 AND tokens > 0", name="ck_usage_events_counts"),
        sa.PrimaryKeyConstraint("request_id", name="pk_usage_events"),
    ]


def _carry_over() -> None:
    """Bring what 0001 held: what was reserved becomes available, requests at work being over."""
    spent = (
        "(SELECT coalesce(-sum(e.amount_nanos), 0) FROM old_ledger_entries e "
        "WHERE e.kind = 'usage' AND e.organization_id = a.organization_id)"
    )
    hour = (
        "date_trunc('hour', created_at, 'UTC')"
        if _postgresql()
        else "substr(created_at, 1, 13) || ':00:00.000000+00:00'"
    )
    no = "false" if _postgresql() else "0"
    op.execute(
        "INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, owed_nanos, "
        "spent_nanos, frozen) SELECT a.organization_id, a.organization_id, "
        f"a.available_nanos + a.reserved_nanos, 0, 0, {spent}, {no} FROM old_accounts a"
    )
    op.execute("INSERT INTO credit_lots SELECT * FROM old_credit_lots")
    op.execute(
        "INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart, "
        "created_at) SELECT e.organization_id, e.kind, CAST(e.ref AS text), e.amount_nanos, "
        "CASE WHEN e.kind = 'usage' THEN 'revenue' WHEN e.kind = 'expiry' THEN 'breakage' "
        "WHEN l.kind = 'promo' THEN 'promo_expense' ELSE 'stripe_clearing' END, e.created_at "
        "FROM old_ledger_entries e LEFT JOIN old_credit_lots l ON l.id = e.ref ORDER BY e.id"
    )
    columns = (
        "request_id, organization_id, key_id, model_id, price_id, inputs, tokens, cost_nanos, "
        "created_at"
    )
    op.execute(
        f"INSERT INTO usage_events ({columns}, charged_nanos) "
        f"SELECT {columns}, cost_nanos FROM old_usage_events"
    )
    op.execute(
        "INSERT INTO usage_hours (organization_id, hour, key_id, model_id, shard, requests, "
        f"inputs, tokens, charged_nanos) SELECT organization_id, {hour}, key_id, model_id, 0, "
        "count(*), sum(inputs), sum(tokens), sum(cost_nanos) FROM old_usage_events "
        f"GROUP BY organization_id, {hour}, key_id, model_id"
    )


def _append_only(table: str, sqlite_when: str = "true") -> None:
    """Make the database itself refuse to change a row of history.

    Old usage goes by dropping its partition; SQLite has none, so there it may be deleted.
    """
    if _postgresql():
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        return
    for verb, when in (("UPDATE", "true"), ("DELETE", sqlite_when)):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} WHEN {when} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _nanos(
    table: str, name: str, *, least: int = 0, nullable: bool = False
) -> tuple[sa.Column[int], sa.CheckConstraint]:
    check = sa.CheckConstraint(f"{name} BETWEEN {least} AND {_MOST}", name=f"ck_{table}_{name}")
    return sa.Column(name, Nanos, nullable=nullable), check


def _days_ago(days: int) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%S', 'now', '-{days} days')"


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
