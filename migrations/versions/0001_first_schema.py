"""The first schema, on PostgreSQL and on SQLite.

What its tables and columns mean: gateway/storage/tables. Their triggers, and the functions in which
PostgreSQL keeps the ledger and fences leases: migrations/sql/0001_*.sql.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from migrations.types import (
    NAMES,
    NANOS_MAX,
    Count,
    Day,
    Flag,
    Id,
    Instant,
    Small,
    nanos,
    partial_index,
    required,
)

revision = "0001_first_schema"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_FILES = {
    "postgresql": ("0001_lease_fencing.sql", "0001_triggers_postgresql.sql"),
    "sqlite": ("0001_triggers_sqlite.sql",),
}
# room in each page for rows that change all the time
_HALF_FULL = {"postgresql_with": {"fillfactor": 50}}

_schema = MetaData(naming_convention=NAMES)


def upgrade() -> None:
    connection = op.get_bind()
    _schema.create_all(connection, checkfirst=False)
    for statement in _statements(connection.dialect.name):
        connection.exec_driver_sql(statement)
    op.execute("INSERT INTO catalog_versions (id, version) VALUES (1, 1)")


def downgrade() -> None:
    connection = op.get_bind()
    _schema.drop_all(connection, checkfirst=False)  # with their triggers
    for statement in _statements(connection.dialect.name):
        if function := re.search(r"CREATE FUNCTION (\w+)", statement):
            op.execute(f"DROP FUNCTION {function[1]}")


def _statements(dialect: str) -> Iterator[str]:
    """Split the files of SQL: a statement ends before an empty line and a line not indented."""
    for name in _FILES[dialect]:
        yield from re.split(r";\n\n(?=\S)", (_SQL / name).read_text())


def table(name: str, *parts: SchemaItem, **options: object) -> None:
    Table(name, _schema, *parts, sqlite_strict=True, **options)


# --- catalog

table(
    "catalog_versions",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Count, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

table(
    "models",
    Column("id", Text, primary_key=True),
    *required(Text, "state", "card"),
    Column("created_at", Instant, nullable=False),
    Column("version", Count, nullable=False, server_default=text("1")),
    CheckConstraint("state IN ('coming_soon', 'live', 'retired')", name="state"),
)

table(
    "golden_rows",
    Column("model_id", Text, primary_key=True),
    Column("revision", Text, primary_key=True),
    Column("rows", Text, nullable=False),
    Column("pinned_at", Instant, nullable=False),
)

table(
    "model_prices",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("tier", Text, nullable=False, server_default="default"),
    *nanos("nanos_per_million_tokens"),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("tier IN ('default', 'flex')", name="tier"),
    Index(None, "model_id", "created_at"),
)

# --- accounts

table(
    "organizations",
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("truncate", Text),
    Column("token_ids_from", Text),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
)

table(
    "api_keys",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("last_four", Text, nullable=False),
    Column("token_ids_from", Text),
    Column("truncate", Text),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Id, ForeignKey("users.id")),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    Index(None, "organization_id"),
    Index(None, "changed_at"),
    Index(None, "created_by"),
)

table(
    "users",
    Column("id", Id, primary_key=True),
    Column("email", Text, unique=True),
    Column("address_key", Text),
    Column("created_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Column("welcome", Text, nullable=False),
    CheckConstraint("length(email) <= 254", name="email"),
    CheckConstraint("(deleted_at IS NULL) = (email IS NOT NULL)", name="deleted"),
    Index(None, "address_key"),
)

table(
    "memberships",
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("role IN ('owner', 'member')", name="role"),
    Index(None, "organization_id"),
)

table(
    "sessions",
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("removed_from", Id, ForeignKey("organizations.id")),
    Column("generation", Integer, nullable=False),
    Column("seen", Integer, nullable=False, server_default=text("1")),
    *required(Instant, "created_at", "rotated_at", "expires_at"),
    Column("revoked_at", Instant),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

table(
    "mail_links",
    Column("id", Id, primary_key=True),
    *required(Text, "purpose", "email"),
    Column("address_key", Text, nullable=False, server_default=""),
    Column("subject", Text, nullable=False),
    *required(Instant, "created_at", "expires_at"),
    Column("used_at", Instant),
    CheckConstraint("purpose IN ('sign_in', 'waitlist', 'invitation')", name="purpose"),
    Index(None, "address_key", "created_at"),
    Index(None, "email"),
    Index(None, "subject"),
    Index(None, "expires_at"),
)

table(
    "identities",
    Column("provider", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id")),
    Column("connected_at", Instant, nullable=False),
    CheckConstraint("provider IN ('github')", name="provider"),
    Index(None, "user_id"),
)

table(
    "promotion_days",
    Column("day", Text, primary_key=True),
    *nanos("granted_nanos"),
)

# --- billing

table(
    "key_budgets",
    Column("key_id", Id, ForeignKey("api_keys.id"), primary_key=True),
    Column("period", Text, nullable=False),
    *nanos("limit_nanos"),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("period IN ('month', 'total')", name="period"),
)

table(
    "accounts",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("key_id", Id, ForeignKey("api_keys.id")),
    Column("period", Text),
    *nanos("limit_nanos", nullable=True),
    *nanos("available_nanos", "leased_nanos", "owed_nanos", "spent_nanos"),
    Column("frozen", Flag, nullable=False),
    Column("recalled_at", Instant),
    CheckConstraint(
        "(key_id IS NULL AND id = organization_id AND period IS NULL AND limit_nanos IS NULL) OR "
        "(key_id IS NOT NULL AND period IS NOT NULL AND limit_nanos IS NOT NULL)",
        name="owner",
    ),
    UniqueConstraint("key_id", "period"),
    Index(None, "organization_id"),
    partial_index("ix_accounts_recalled_at", "recalled_at", where="recalled_at IS NOT NULL"),
    **_HALF_FULL,
)

table(
    "credit_lots",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    *nanos("amount_nanos", least=1),
    *nanos("remaining_nanos"),
    Column("source_ref", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    CheckConstraint("kind IN ('promo', 'paid')", name="kind"),
    CheckConstraint("remaining_nanos <= amount_nanos", name="remaining"),
    Index(None, "organization_id"),
    Index(None, "expires_at"),
    **_HALF_FULL,
)

table(
    "leases",
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("replica_id", Id, nullable=False),
    *nanos("granted_nanos", "spent_nanos", "posted_nanos"),
    Column("postings", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("tick", Count, nullable=False),
    *required(Instant, "opened_at", "returned_at", "expires_at"),
    CheckConstraint("state IN ('open', 'closed')", name="state"),
    CheckConstraint("spent_nanos <= granted_nanos", name="spent"),
    CheckConstraint("posted_nanos <= spent_nanos", name="posted"),
    partial_index("ix_leases_open", "account_id", where="state = 'open'"),
    Index(None, "opened_at"),
    **_HALF_FULL,
)

table(
    "ledger_entries",
    Column("id", Count, primary_key=True, autoincrement=True),
    Column("organization_id", Id, ForeignKey("accounts.id"), nullable=False),
    *required(Text, "kind", "ref"),
    *nanos("amount_nanos", least=-NANOS_MAX),
    Column("counterpart", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("kind IN ('grant', 'usage', 'expiry', 'reversal')", name="kind"),
    CheckConstraint(
        "counterpart IN ('revenue', 'promo_expense', 'breakage', 'stripe_clearing')",
        name="counterpart",
    ),
    UniqueConstraint("kind", "ref"),
    Index(None, "organization_id", "id"),
)

table(
    "usage_events",
    Column("request_id", Id, primary_key=True),
    *required(Id, "organization_id", "key_id"),
    Column("model_id", Text, nullable=False),
    Column("price_id", Id, nullable=False),
    *required(Integer, "inputs", "tokens"),
    *nanos("cost_nanos", "charged_nanos"),
    Column("lease_id", Id),
    Column("budget_id", Id),
    Column("budget_lease_id", Id),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("inputs > 0 AND tokens > 0", name="counts"),
    CheckConstraint("charged_nanos IN (0, cost_nanos)", name="charged"),
    Index(None, "organization_id", "request_id"),
    postgresql_partition_by="RANGE (request_id)",
)

table(
    "usage_hours",
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("shard", Small, primary_key=True),
    *required(Count, "requests", "inputs", "tokens"),
    *nanos("charged_nanos"),
    **_HALF_FULL,
)

table(
    "usage_days",
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("shard", Small, primary_key=True),
    *required(Count, "requests", "inputs", "tokens"),
    *nanos("charged_nanos"),
    **_HALF_FULL,
)

table(
    "answer_hours",
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("status_class", Small, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", Count, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
)

# --- demand

table(
    "demand_votes",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("voter_key", Text, nullable=False),
    Column("volume_million_tokens", Integer),
    *nanos("price_max_nanos", nullable=True),
    Column("use_case", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("volume_million_tokens BETWEEN 1 AND 1000000000", name="volume"),
    CheckConstraint("length(use_case) <= 500", name="use_case"),
    UniqueConstraint("model_id", "voter_key"),
    Index(None, "voter_key"),
    Index(None, "user_id"),
)

table(
    "waitlist_entries",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    *required(Text, "email", "address_key"),
    Column("user_id", Id, ForeignKey("users.id")),
    Column("confirmed_at", Instant, nullable=False),
    UniqueConstraint("model_id", "address_key"),
    Index(None, "address_key"),
    Index(None, "user_id"),
)

table(
    "demand_events",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("organization_id", Id, ForeignKey("organizations.id")),
    Column("count", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint(
        "kind IN ('view', 'call', 'vote', 'withdraw', 'waitlist', 'leave', 'notified')", name="kind"
    ),
    CheckConstraint("count > 0", name="count"),
    Index(None, "model_id", "kind", "created_at"),
    Index(None, "created_at"),
)

table(
    "demand_months",
    Column("model_id", Text, ForeignKey("models.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("count", Count, nullable=False),
    CheckConstraint("count > 0", name="count"),
)

table(
    "launches",
    Column("model_id", Text, ForeignKey("models.id"), primary_key=True),
    Column("price_id", Id, ForeignKey("model_prices.id"), nullable=False),
    Column("launched_at", Instant, nullable=False),
    Column("began_at", Instant),
    Column("announced_at", Instant),
    Column("recipients", Integer),
)

table(
    "launch_organizations",
    Column("model_id", Text, ForeignKey("models.id"), primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("credit", Text, nullable=False),
    Column("decided_at", Instant, nullable=False),
    Column("told_at", Instant),
    CheckConstraint(
        "credit IN ('granted', 'granted_before', 'disposable', 'budget', 'off')", name="credit"
    ),
)

# --- mail

table(
    "outbox",
    Column("id", Id, primary_key=True),
    Column("ref", Text, nullable=False, unique=True),
    *required(Text, "kind", "recipient", "subject", "text", "html", "unsubscribe_url", "state"),
    Column("attempts", Integer, nullable=False),
    *required(Instant, "created_at", "due_at"),
    Column("give_up_at", Instant),
    Column("sent_at", Instant),
    Column("reason", Text, nullable=False),
    CheckConstraint("state IN ('pending', 'sending', 'sent', 'failed', 'unknown')", name="state"),
    Index(None, "state", "due_at"),
)

table(
    "unsubscriptions",
    Column("email", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
)

# --- status

table(
    "incidents",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    partial_index("uq_incidents_open", "model_id", where="ended_at IS NULL", unique=True),
    Index(None, "started_at"),
)

# --- workers

table(
    "worker_orders",
    Column("model_id", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("wish", Text, nullable=False),
    Column("checks", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("wish IN ('serve', 'drain')", name="wish"),
)

table(
    "worker_reports",
    Column("gateway_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("view", Text, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# --- quotas

table(
    "quota_windows",
    Column("digest", LargeBinary, primary_key=True),
    Column("began_at", Instant, nullable=False),
    Column("used", Integer, nullable=False),
    CheckConstraint("used > 0", name="used"),
    Index(None, "began_at"),
)
