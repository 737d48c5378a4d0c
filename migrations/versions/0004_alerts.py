"""Notices, webhooks that carry them, and what organizations and budgets have crossed.

What the tables and columns mean: gateway/storage/tables/alerts.py.
"""

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

from migrations.types import NAMES, Flag, Id, Instant, nanos, partial_index, required

revision = "0004_alerts"
down_revision = "0003_payments"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    rows = text("expires_at IS NOT NULL")
    op.create_index(
        "ix_api_keys_expires_at",
        "api_keys",
        ["expires_at"],
        postgresql_where=rows,
        sqlite_where=rows,
    )


def downgrade() -> None:
    op.drop_index("ix_api_keys_expires_at", "api_keys")
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
for known in ("organizations", "users", "accounts"):
    Table(known, _schema, Column("id", Id, primary_key=True))

table(
    "notices",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    *required(Text, "type", "ref", "data"),
    Column("created_at", Instant, nullable=False),
    Column("mail_due_at", Instant),
    Column("mailed_at", Instant),
    UniqueConstraint("organization_id", "ref"),
    Index(None, "created_at"),
    Index(None, "organization_id", "mailed_at"),
    partial_index("ix_notices_mail_due_at", "mail_due_at", where="mail_due_at IS NOT NULL"),
)

table(
    "webhook_endpoints",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("secret_before", LargeBinary),
    Column("secret_before_until", Instant),
    Column("created_by", Id, ForeignKey("users.id")),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("disabled_reason", Text, nullable=False),
    Column("failing_since", Instant),
    Column("claimed_until", Instant),
    Column("served_at", Instant, nullable=False),
    Column("removed_at", Instant),
    CheckConstraint("length(url) BETWEEN 1 AND 2000", name="url"),
    CheckConstraint(
        "disabled_reason IN ('', 'person', 'failing', 'gone', 'unreadable')", name="disabled"
    ),
    Index(None, "organization_id"),
    Index(None, "created_by"),
)

table(
    "webhook_subscriptions",
    Column("endpoint_id", Id, ForeignKey("webhook_endpoints.id"), primary_key=True),
    Column("type", Text, primary_key=True),
    Index(None, "type"),
)

table(
    "webhook_deliveries",
    Column("id", Id, primary_key=True),
    Column("endpoint_id", Id, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("notice_id", Id, ForeignKey("notices.id"), nullable=False),
    Column("state", Text, nullable=False),
    *required(Instant, "created_at", "due_at", "give_up_at"),
    Column("attempts", Integer, nullable=False),
    Column("attempted_at", Instant),
    Column("status", Integer),
    Column("milliseconds", Integer),
    *required(Text, "answer", "error"),
    CheckConstraint("state IN ('pending', 'sent', 'failed')", name="state"),
    UniqueConstraint("endpoint_id", "notice_id"),
    Index(None, "endpoint_id", "id"),
    Index(None, "notice_id"),
    Index(None, "created_at"),
    partial_index("ix_webhook_deliveries_pending", "endpoint_id", where="state = 'pending'"),
)

table(
    "alert_preferences",
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    *nanos("low_nanos", nullable=True),
    Column("mails_off", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "changed_at"),
)

table(
    "alert_levels",
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
    *required(Integer, "level", "told"),
    Column("watched", Flag, nullable=False),
    CheckConstraint("level BETWEEN 0 AND 100", name="level"),
    partial_index("ix_alert_levels_watched", "account_id", where="watched"),
)

table(
    "alert_walks",
    Column("name", Text, primary_key=True),
    Column("after", Text, nullable=False),
    *required(Instant, "began_at", "read_until"),
    Column("due_at", Instant),
)
